//! What a tokenisation made, and from what: `report.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_atomically;

use crate::error::{CorpusError, Result};
use crate::read::Position;
use crate::store::{Fingerprint, TokenStore};
use crate::tokenizer::Tokenizer;

const REPORT: &str = "report.json";

/// Bad rows that are quoted in a report; the others are counted only.
const QUOTED: usize = 20;

/// What lies in one part of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartReport {
    /// Documents.
    pub documents: u64,
    /// Tokens, ends of text included.
    pub tokens: u64,
    /// Bytes of UTF-8 text.
    pub bytes: u64,
}

impl PartReport {
    /// Bytes of text a token stands for; turns nats per token into bits per byte.
    pub fn bytes_per_token(&self) -> f64 {
        self.bytes as f64 / self.tokens.max(1) as f64
    }

    pub(super) fn add(&mut self, other: &PartReport) {
        self.documents += other.documents;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }

    pub(super) fn count(&mut self, bytes: u64, tokens: u64) {
        self.add(&PartReport {
            documents: 1,
            tokens,
            bytes,
        });
    }
}

/// Rows that gave no document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// How many, by reason.
    pub rows: BTreeMap<String, u64>,
    /// The first bad ones, with file and line; blank and empty ones are only counted.
    pub examples: Vec<String>,
}

impl Skipped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.rows.values().sum()
    }

    pub(super) fn count(&mut self, reason: &str) {
        *self.rows.entry(reason.to_owned()).or_default() += 1;
    }

    pub(super) fn quote(&mut self, example: String) {
        if self.examples.len() < QUOTED {
            self.examples.push(example);
        }
    }

    pub(super) fn add(&mut self, other: &Skipped) {
        add_counts(&mut self.rows, &other.rows);
        other
            .examples
            .iter()
            .cloned()
            .for_each(|example| self.quote(example));
    }
}

/// Adds what was counted under each name.
fn add_counts(counts: &mut BTreeMap<String, u64>, others: &BTreeMap<String, u64>) {
    for (name, rows) in others {
        *counts.entry(name.clone()).or_default() += rows;
    }
}

/// `report.json`: what was made, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizeReport {
    /// The source's name.
    pub source: String,
    /// Stands for source, tokenizer and options.
    pub inputs: Fingerprint,
    /// The training part.
    pub train: PartReport,
    /// The held-out part.
    pub held_out: PartReport,
    /// Documents in which something was replaced, by what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<String, u64>,
    /// What gave no document.
    pub skipped: Skipped,
    /// The component of the tokenizer for which text was encoded slowly (see [`Tokenizer::slow_because`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_because: Option<String>,
}

impl TokenizeReport {
    pub(super) fn new(source: &str, inputs: Fingerprint, tokenizer: &Tokenizer) -> Self {
        Self::empty(source, inputs, tokenizer.slow_because().map(str::to_owned))
    }

    pub(super) fn empty(source: &str, inputs: Fingerprint, slow_because: Option<String>) -> Self {
        Self {
            source: source.to_owned(),
            inputs,
            train: PartReport::default(),
            held_out: PartReport::default(),
            replaced: BTreeMap::new(),
            skipped: Skipped::default(),
            slow_because,
        }
    }

    pub(super) fn add(&mut self, piece: &PieceReport) {
        self.train.add(&piece.train);
        self.held_out.add(&piece.held_out);
        self.skipped.add(&piece.skipped);
        add_counts(&mut self.replaced, &piece.replaced);
    }

    /// Refuses an output nothing can be trained on or measured with.
    pub(super) fn check(&self, held_out: f64) -> Result<()> {
        if self.train.documents == 0 {
            let skipped = match self.skipped.total() {
                0 => String::new(),
                rows => format!(" ({rows} rows were skipped: {})", reasons(&self.skipped)),
            };
            let problem = format!("no document is left for training{skipped}");
            return Err(CorpusError::source(&self.source, problem));
        }
        if held_out > 0.0 && self.held_out.documents == 0 {
            let problem = format!(
                "no document falls into the held-out part of {held_out}; raise `held_out` or give more documents"
            );
            return Err(CorpusError::source(&self.source, problem));
        }
        Ok(())
    }

    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(REPORT);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| CorpusError::store(&path, error.to_string()))?;
        Ok(write_atomically(&path, text.as_bytes())?)
    }
}

fn reasons(skipped: &Skipped) -> String {
    skipped
        .rows
        .iter()
        .map(|(reason, rows)| format!("{rows} {reason}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The report in `folder`: there once a tokenisation into it is finished, `None` before.
///
/// # Errors
/// A report that cannot be read.
pub fn report(folder: &Path) -> Result<Option<TokenizeReport>> {
    let path = folder.join(REPORT);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CorpusError::io("read", &path)(error)),
    };
    let report = serde_json::from_str(&text)
        .map_err(|error| CorpusError::store(folder, format!("its report.json cannot be read: {error}")))?;
    Ok(Some(report))
}

/// The report of an earlier call with the same inputs, if what it wrote is still there.
pub(super) fn finished(folder: &Path, inputs: Fingerprint) -> Option<TokenizeReport> {
    let report = report(folder).ok().flatten()?;
    let holds = |part: PathBuf, expected: &PartReport| {
        expected.documents == 0
            || TokenStore::open(part).is_ok_and(|store| store.len_tokens() == expected.tokens)
    };
    let whole = report.inputs == inputs
        && holds(train_folder(folder), &report.train)
        && holds(held_out_folder(folder), &report.held_out);
    whole.then_some(report)
}

/// Takes the report away, which must not vouch for files about to change.
pub(super) fn withdraw(folder: &Path) -> Result<()> {
    remove(&folder.join(REPORT))
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CorpusError::io("replace", path)(error)),
        _ => Ok(()),
    }
}

/// Where the training part of `folder` lies.
pub fn train_folder(folder: &Path) -> PathBuf {
    folder.join("train")
}

/// Where the held-out part of `folder` lies.
pub fn held_out_folder(folder: &Path) -> PathBuf {
    folder.join("held-out")
}

/// `parts/00003-00001.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PieceReport {
    /// Where the next piece begins.
    pub(super) end: Position,
    /// Whether the input file ends here.
    pub(super) last: bool,
    pub(super) train: PartReport,
    pub(super) held_out: PartReport,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) replaced: BTreeMap<String, u64>,
    pub(super) skipped: Skipped,
}

impl PieceReport {
    /// Counts a document in which halves of surrogate pairs were replaced.
    pub(super) fn count_replaced(&mut self) {
        let name = "halves of surrogate pairs, read as U+FFFD".to_owned();
        *self.replaced.entry(name).or_default() += 1;
    }
}
