//! `report.json`: what a tokenisation produced, and from which inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;
use smollm3_files::{read_if_present, remove_if_present};

use crate::error::{CorpusError, Result};
use crate::read::Position;
use crate::store::{Fingerprint, TokenStore};
use crate::tokenizer::Tokenizer;

const REPORT: &str = "report.json";

/// Bad rows that are quoted in a report; the others are counted only.
const QUOTED: usize = 20;

/// The contents of one part of the output.
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
    /// Bytes of text per token, which turn nats per token into bits per byte.
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
            .for_each(|example| self.quote(example.clone()));
    }
}

/// Adds what was counted under each name.
fn add_counts(counts: &mut BTreeMap<String, u64>, others: &BTreeMap<String, u64>) {
    for (name, rows) in others {
        *counts.entry(name.clone()).or_default() += rows;
    }
}

/// The contents of `report.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizeReport {
    /// The source's name.
    pub source: String,
    /// The fingerprint of source, tokenizer and options.
    pub inputs: Fingerprint,
    /// The training part.
    pub train: PartReport,
    /// The held-out part.
    pub held_out: PartReport,
    /// Documents in which something was replaced, by what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<String, u64>,
    /// Rows that gave no document.
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

    /// Refuses an output with nothing to train on, or nothing held out where a share was asked for.
    pub(super) fn check(&self, held_out: f64) -> Result<()> {
        if self.train.documents == 0 {
            let skipped = match self.skipped.total() {
                0 => String::new(),
                rows => {
                    let reasons = self.skipped.rows.iter();
                    let reasons: Vec<String> =
                        reasons.map(|(reason, rows)| format!("{rows} {reason}")).collect();
                    format!(" ({rows} rows were skipped: {})", reasons.join(", "))
                }
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
        Ok(write_json(&folder.join(REPORT), self)?)
    }
}

/// The report in `folder`: there once a tokenisation into it is finished, `None` before.
///
/// # Errors
/// A report that cannot be read.
pub fn report(folder: &Path) -> Result<Option<TokenizeReport>> {
    let text = read_if_present(&folder.join(REPORT))?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| CorpusError::store(folder, format!("its report.json cannot be read: {error}")))
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

/// Removes the report, which must not vouch for files about to change.
pub(super) fn withdraw(folder: &Path) -> Result<()> {
    Ok(remove_if_present(&folder.join(REPORT))?)
}

/// The folder of the training part.
pub fn train_folder(folder: &Path) -> PathBuf {
    folder.join("train")
}

/// The folder of the held-out part.
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
