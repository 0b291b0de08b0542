//! Some text out of files of any size.

use super::{Position, open};
use crate::error::{CorpusError, Result};
use crate::shards::Shards;

/// Files that a sample is taken from at most: each one may have to be fetched whole.
const FILES: usize = 16;

/// The first rows of up to sixteen files spread evenly over the source, together about `bytes` of text: what a
/// tokenizer is trained on. Rows without usable text are passed over.
///
/// # Errors
/// A file that cannot be had or read, or no text at all.
pub fn sample_rows(files: &dyn Shards, column: &str, bytes: u64) -> Result<Vec<String>> {
    let all = files.shards().len();
    let taken = all.min(FILES);
    let mut texts = Vec::new();
    let mut left = bytes;
    for number in 0..taken {
        let index = number * all / taken;
        // What short files leave over falls to those behind them.
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::shards::LocalShards;

    fn files(contents: &[&str]) -> (tempfile::TempDir, LocalShards) {
        let folder = tempfile::tempdir().unwrap();
        for (number, text) in contents.iter().enumerate() {
            fs::write(folder.path().join(format!("{number}.jsonl")), text).unwrap();
        }
        let shards = LocalShards::find("s", &[folder.path().to_string_lossy()]).unwrap();
        (folder, shards)
    }

    #[test]
    fn every_file_gives_its_part_and_short_ones_leave_theirs_to_others() {
        let long = "{\"text\":\"abcd\"}\n".repeat(100);
        let (_folder, shards) = files(&[&long, "{\"text\":\"xy\"}\nbroken\n{\"text\":\"\"}\n", &long]);
        let texts = sample_rows(&shards, "text", 62).unwrap();
        // 20 of 62 bytes from the first, 2 there are in the second, the other 40 from the third.
        assert_eq!(texts.iter().filter(|text| *text == "abcd").count(), 15);
        assert_eq!(texts.get(5).map(String::as_str), Some("xy"));
        assert_eq!(texts.len(), 16);
    }

    #[test]
    fn no_text_is_an_error() {
        let (_folder, shards) = files(&["{\"text\":null}\n"]);
        assert!(
            sample_rows(&shards, "text", 10)
                .unwrap_err()
                .to_string()
                .contains("no text")
        );
    }
}
