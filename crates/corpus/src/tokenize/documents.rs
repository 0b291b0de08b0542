//! Numbered documents to one token store.
//!
//! Documents come in a shuffled order fixed by the seed, are tokenised in chunks, and each chunk is
//! written in its order before the next is read: memory is one chunk, and the order of the threads
//! never shows. There is no resuming: sources of this kind take seconds to minutes.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::job::Job;
use super::report::{TokenizeReport, finished};
use super::{FORMAT, check_share, held_out_folder, is_held_out, train_folder};
use crate::error::{CorpusError, Result};
use crate::store::{Fingerprint, StoreWriter};
use crate::text::{DocumentSource, shuffled};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Documents a chunk holds: enough to keep many cores busy, little enough to forget about.
const CHUNK: usize = 512;

const TOKENS: &str = "00000.ds";

/// How a source is tokenised.
#[derive(Debug, Clone, Default)]
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
    check_share(options.held_out)?;
    let inputs = inputs_fingerprint(source, tokenizer, options)?;
    if let Some(report) = finished(folder, inputs) {
        return Ok(report);
    }
    Job::start_documents(folder, inputs)?;

    let vocab_size = u64::from(tokenizer.info().vocab_size);
    let open = |part: PathBuf| StoreWriter::create(part.join(TOKENS), tokenizer.name(), vocab_size);
    let mut train = open(train_folder(folder))?;
    let mut held_out = match options.held_out > 0.0 {
        true => Some(open(held_out_folder(folder))?),
        false => None,
    };
    let mut report = TokenizeReport::new(source.name(), inputs, tokenizer);
    let encoder = tokenizer.documents(options.special_tokens);
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
                report.skipped.count("empty");
                continue;
            }
            let count = tokens.len() as u64;
            done.tokens += count;
            match held_out.as_mut().filter(|_| is_held_out) {
                Some(writer) => {
                    report.held_out.count(bytes, count);
                    writer.push_document(&tokens)?;
                }
                None => {
                    report.train.count(bytes, count);
                    train.push_document(&tokens)?;
                }
            }
        }
        if !progress(done) {
            return Err(CorpusError::Interrupted);
        }
    }

    report.check(options.held_out)?;
    train.finish()?;
    held_out.map(StoreWriter::finish).transpose()?;
    report.save(folder)?;
    Ok(report)
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
