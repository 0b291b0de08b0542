//! Numbered documents to one token store.
//!
//! Documents are shuffled by the seed and tokenised in chunks; each chunk is written in order before the next is read. So
//! memory is one chunk, and the output does not depend on the threads. There is no resuming: such sources take seconds to
//! minutes.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::job::Job;
use super::report::{TokenizeReport, finished};
use super::{FORMAT, check_share, held_out_folder, is_held_out, train_folder};
use crate::error::{CorpusError, Result};
use crate::store::{Fingerprint, StoreWriter};
use crate::text::{DocumentSource, shuffled};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Documents per chunk: enough to keep many cores busy.
const CHUNK: usize = 512;

const TOKENS: &str = "00000.ds";

/// How a source is tokenised.
#[derive(Debug, Clone, Default)]
pub struct TokenizeOptions {
    /// Seed of the order of documents.
    pub seed: u64,
    /// Share of the documents kept out of training, in `[0, 1)`.
    pub held_out: f64,
    /// Stop after this many bytes of text; `None`: the whole source.
    pub max_bytes: Option<u64>,
    /// How special tokens spelt out in a document are treated.
    pub special_tokens: SpecialTokens,
}

/// Progress of a tokenisation.
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

/// Tokenises `source` into `folder`. `progress` is called after each chunk; if it returns `false`, the work stops.
///
/// # Errors
/// An empty source, a document that cannot be read, a full disk, or [`CorpusError::Interrupted`]. No `.ds` file of this call
/// is left then.
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
    let holds_out = options.held_out > 0.0;
    let mut held_out = holds_out.then(|| open(held_out_folder(folder))).transpose()?;
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
            let (part, writer) = match held_out.as_mut().filter(|_| is_held_out) {
                Some(writer) => (&mut report.held_out, writer),
                None => (&mut report.train, &mut train),
            };
            part.count(bytes, count);
            writer.push_document(&tokens)?;
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
