//! Documents that need no download.
//!
//! A source is a numbered list of documents, readable in any order by any thread. Both sources here are the same on every
//! machine: one is pinned by `Cargo.lock`, the other by its seed.

pub mod arithmetic;
pub mod cargo_sources;

use std::borrow::Cow;

use crate::error::{CorpusError, Result};
use crate::store::Fingerprint;

pub use arithmetic::Arithmetic;
pub use cargo_sources::{CargoSources, CargoText};

/// Documents by number.
pub trait DocumentSource: Sync {
    /// For messages and reports.
    fn name(&self) -> &str;

    /// How many there are.
    fn documents(&self) -> u64;

    /// The text of document `index`, below [`DocumentSource::documents`].
    ///
    /// # Errors
    /// `index` is past the end, or the document can no longer be read.
    fn document(&self, index: u64) -> Result<Cow<'_, str>>;

    /// Equal fingerprints mean the same texts in the same order.
    fn fingerprint(&self) -> Fingerprint;
}

/// The error for a document past the end.
fn no_document(source: &dyn DocumentSource, index: u64) -> CorpusError {
    let problem = format!("no document {index}, it has {}", source.documents());
    CorpusError::source(source.name(), problem)
}

/// The numbers `0..documents` in an order fixed by `seed`: sorted by a keyed hash.
///
/// Hashes need no random generator whose output might change between versions. They take 16 bytes a document.
pub fn shuffled(documents: u64, seed: u64) -> Vec<u64> {
    let key = *blake3::hash(&seed.to_le_bytes()).as_bytes();
    let mut keyed: Vec<([u8; 8], u64)> = (0..documents)
        .map(|document| {
            let hash = blake3::keyed_hash(&key, &document.to_le_bytes());
            (*hash.as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]), document)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, document)| document).collect()
}

/// The first documents of [`shuffled`] that together reach `bytes`: what a tokenizer is trained on.
///
/// # Errors
/// A document cannot be read, or the source is empty.
pub fn sample(source: &dyn DocumentSource, bytes: u64, seed: u64) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut total = 0;
    for document in shuffled(source.documents(), seed) {
        if total >= bytes {
            break;
        }
        let text = source.document(document)?.into_owned();
        total += text.len() as u64;
        texts.push(text);
    }
    if texts.is_empty() {
        return Err(CorpusError::source(source.name(), "it holds no document"));
    }
    Ok(texts)
}
