//! The identity of data: a hash of file contents, not of names.

use blake3::Hasher;
use smollm3_corpus::shards::{LocalShards, Shards};
use smollm3_files::hash_file;

use crate::Result;

/// blake3 over the contents of data files, in the order in which they are read.
///
/// # Errors
/// A file is missing or cannot be read.
pub fn data_hash<S: AsRef<str>>(files: &[S]) -> Result<String> {
    let shards = LocalShards::find("the questions", files)?;
    let mut all = Hasher::new();
    for index in 0..shards.shards().len() {
        let file = shards.open(index)?;
        // Of the contents of each, so that no text can move from one file to the next unseen.
        all.update(hash_file(file.path())?.as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}
