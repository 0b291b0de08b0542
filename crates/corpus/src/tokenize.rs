//! Documents to token stores, on all cores, the same bytes for any number of threads.
//!
//! Documents come in a shuffled order fixed by the seed, are tokenised in chunks of bounded size, and
//! each chunk is written in its order before the next is read: memory is one chunk, and the threads'
//! order never shows. A document belongs to the held-out part by the hash of its own text, so it does
//! so in every run, and copies of a text never sit on both sides.
//!
//! The output folder holds `train/00000.ds`, `held-out/00000.ds` (when a part is held out) and
//! `report.json`, which comes last and says what the stores were made from. Where it says the same as
//! what is asked, nothing is done again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::atomic_file::write_atomically;
use crate::error::{CorpusError, Result};
use crate::store::{Fingerprint, StoreWriter, TokenStore};
use crate::text::{DocumentSource, shuffled};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Documents a chunk holds: enough to keep many cores busy, little enough to forget about.
const CHUNK: usize = 512;

const TOKENS: &str = "00000.ds";
const REPORT: &str = "report.json";

/// Enters the key of the outputs; raised when the same settings would give other bytes.
const FORMAT: u32 = 1;

/// How a source is tokenised.
#[derive(Debug, Clone)]
pub struct TokenizeOptions {
    /// Fixes the order of documents.
    pub seed: u64,
    /// Share of the documents kept out of training, in `[0, 1)`.
    pub held_out: f64,
    /// Stop after this many bytes of text; `None`: the whole source.
    pub max_bytes: Option<u64>,
    /// What special tokens spelt out in a document become.
    pub special_tokens: SpecialTokens,
}

impl Default for TokenizeOptions {
    fn default() -> Self {
        TokenizeOptions {
            seed: 0,
            held_out: 0.0,
            max_bytes: None,
            special_tokens: SpecialTokens::Text,
        }
    }
}

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
    /// Documents left out because they are empty.
    pub skipped_empty: u64,
}

/// How far a tokenisation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizeProgress {
    /// Documents done.
    pub documents: u64,
    /// Documents the source has.
    pub of_documents: u64,
    /// Bytes of text done.
    pub bytes: u64,
    /// Tokens written.
    pub tokens: u64,
}

/// Where the training part of `folder` lies.
pub fn train_folder(folder: &Path) -> PathBuf {
    folder.join("train")
}

/// Where the held-out part of `folder` lies.
pub fn held_out_folder(folder: &Path) -> PathBuf {
    folder.join("held-out")
}

/// Tokenises `source` into `folder`. `progress` is called after each chunk; `false` from it stops.
///
/// # Errors
/// An empty source, a document that cannot be read, a full disk, or [`CorpusError::Interrupted`]. No
/// `.ds` of this call is left then.
pub fn tokenize(
    source: &dyn DocumentSource,
    tokenizer: &Tokenizer,
    folder: &Path,
    options: &TokenizeOptions,
    progress: &mut dyn FnMut(TokenizeProgress) -> bool,
) -> Result<TokenizeReport> {
    if !(0.0..1.0).contains(&options.held_out) {
        return Err(CorpusError::Argument {
            name: "held_out",
            problem: format!("must lie in [0, 1), got {}", options.held_out),
        });
    }
    let inputs = inputs_fingerprint(source, tokenizer, options)?;
    if let Some(report) = finished(folder, inputs) {
        return Ok(report);
    }
    clear(folder)?;

    let vocab_size = u64::from(tokenizer.info().vocab_size);
    let open = |part: PathBuf| StoreWriter::create(part.join(TOKENS), tokenizer.name(), vocab_size);
    let mut train = Part::new(open(train_folder(folder))?);
    let mut held_out = match options.held_out > 0.0 {
        true => Some(Part::new(open(held_out_folder(folder))?)),
        false => None,
    };
    let encoder = tokenizer.documents(options.special_tokens);
    let mut skipped_empty = 0;
    let mut done = TokenizeProgress {
        documents: 0,
        of_documents: source.documents(),
        bytes: 0,
        tokens: 0,
    };

    'documents: for chunk in shuffled(source.documents(), options.seed).chunks(CHUNK) {
        let encoded = chunk
            .par_iter()
            .map(|document| {
                let text = source.document(*document)?;
                let held_out = is_held_out(&text, options.held_out);
                Ok((text.len() as u64, held_out, encoder.encode(&text)?))
            })
            .collect::<Result<Vec<_>>>()?;
        for (bytes, is_held_out, tokens) in encoded {
            if options.max_bytes.is_some_and(|most| done.bytes >= most) {
                break 'documents;
            }
            done.documents += 1;
            done.bytes += bytes;
            if bytes == 0 {
                skipped_empty += 1;
                continue;
            }
            done.tokens += tokens.len() as u64;
            let part = held_out.as_mut().filter(|_| is_held_out).unwrap_or(&mut train);
            part.push(bytes, &tokens)?;
        }
        if !progress(done) {
            return Err(CorpusError::Interrupted);
        }
    }

    if train.report.documents == 0 {
        return Err(CorpusError::source(
            source.name(),
            "no document is left for training",
        ));
    }
    if held_out.as_ref().is_some_and(|part| part.report.documents == 0) {
        let problem = format!(
            "no document falls into the held-out part of {}; raise `held_out` or give more documents",
            options.held_out
        );
        return Err(CorpusError::source(source.name(), problem));
    }
    let report = TokenizeReport {
        source: source.name().to_owned(),
        inputs,
        train: train.finish()?,
        held_out: held_out.map(Part::finish).transpose()?.unwrap_or_default(),
        skipped_empty,
    };
    let report_path = folder.join(REPORT);
    let text = serde_json::to_string_pretty(&report)
        .map_err(|error| CorpusError::store(&report_path, error.to_string()))?;
    write_atomically(&report_path, text.as_bytes())?;
    Ok(report)
}

/// A store being written, with the bytes its documents had as text.
struct Part {
    writer: StoreWriter,
    report: PartReport,
}

impl Part {
    fn new(writer: StoreWriter) -> Self {
        Part {
            writer,
            report: PartReport::default(),
        }
    }

    fn push(&mut self, bytes: u64, tokens: &[u32]) -> Result<()> {
        self.report.documents += 1;
        self.report.tokens += tokens.len() as u64;
        self.report.bytes += bytes;
        self.writer.push_document(tokens)
    }

    fn finish(self) -> Result<PartReport> {
        self.writer.finish()?;
        Ok(self.report)
    }
}

/// Whether a text is kept out of training: its hash, as a number in `[0, 1)`, lies below `share`.
pub fn is_held_out(text: &str, share: f64) -> bool {
    let hash = blake3::hash(text.as_bytes());
    let head = u32::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 4]));
    f64::from(head) < share * 2f64.powi(32)
}

fn inputs_fingerprint(
    source: &dyn DocumentSource,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Fingerprint> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&FORMAT.to_le_bytes());
    hasher.update(source.fingerprint().as_bytes());
    hasher.update(tokenizer.fingerprint()?.as_bytes());
    hasher.update(&options.seed.to_le_bytes());
    hasher.update(&options.held_out.to_le_bytes());
    hasher.update(&options.max_bytes.unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(&[u8::from(options.special_tokens == SpecialTokens::Parsed)]);
    Ok(Fingerprint::from_hash(hasher.finalize()))
}

/// The report of an earlier call with the same inputs, if what it wrote is still there.
fn finished(folder: &Path, inputs: Fingerprint) -> Option<TokenizeReport> {
    let text = fs::read_to_string(folder.join(REPORT)).ok()?;
    let report: TokenizeReport = serde_json::from_str(&text).ok()?;
    let holds = |part: PathBuf, expected: &PartReport| {
        expected.documents == 0
            || TokenStore::open(part).is_ok_and(|store| store.len_tokens() == expected.tokens)
    };
    let whole = report.inputs == inputs
        && holds(train_folder(folder), &report.train)
        && holds(held_out_folder(folder), &report.held_out);
    whole.then_some(report)
}

/// Removes what an earlier call with other options left, the report (which vouches for it) first.
fn clear(folder: &Path) -> Result<()> {
    let mut stale = vec![folder.join(REPORT)];
    for part in [train_folder(folder), held_out_folder(folder)] {
        stale.extend(
            ["", ".index", ".metadata", ".blake3"].map(|suffix| part.join(format!("{TOKENS}{suffix}"))),
        );
    }
    for path in stale {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(CorpusError::io("replace", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
