//! Samples of text from files of any size.

use super::{Position, open};
use crate::error::{CorpusError, Result};
use crate::shards::Shards;

/// Maximum number of files sampled: each may have to be fetched whole.
const FILES: usize = 16;

/// The first rows of up to sixteen files spread evenly over the source, about `bytes` of text together, to train a tokenizer
/// on. Rows without usable text are skipped.
///
/// # Errors
/// A file that cannot be fetched or read, or no text at all.
pub fn sample_rows(files: &dyn Shards, column: &str, bytes: u64) -> Result<Vec<String>> {
    let all = files.shards().len();
    let taken = all.min(FILES);
    let mut texts = Vec::new();
    let mut left = bytes;
    for number in 0..taken {
        let index = number * all / taken;
        // What short files leave is shared by the files after them.
        let mut share = left / (taken - number) as u64;
        let Some(shard) = files.shards().get(index) else {
            continue;
        };
        let file = files.open(index)?;
        'file: for batch in open(file.path(), &shard.name, column, Position::default())? {
            let batch = batch?;
            for row in 0..batch.len() {
                if share == 0 {
                    break 'file;
                }
                if let Ok(Some(text)) = batch.text(row)
                    && !text.is_empty()
                {
                    let length = text.len() as u64;
                    (share, left) = (share.saturating_sub(length), left.saturating_sub(length));
                    texts.push(text.text.into_owned());
                }
            }
        }
    }
    if texts.is_empty() {
        return Err(CorpusError::source(files.name(), "it holds no text to train on"));
    }
    Ok(texts)
}
