//! Which data a figure is of: a hash of the files, not their names.

use blake3::Hasher;
use smollm3_corpus::shards::{LocalShards, Shards};

use crate::Result;
use crate::error::io;

/// blake3 over the contents of data files, in the order in which they are read.
///
/// # Errors
/// A file is missing or cannot be read.
pub fn data_hash<S: AsRef<str>>(files: &[S]) -> Result<String> {
    let shards = LocalShards::find("the questions", files)?;
    let mut all = Hasher::new();
    for index in 0..shards.shards().len() {
        let file = shards.open(index)?;
        let mut one = Hasher::new();
        one.update_mmap_rayon(file.path())
            .map_err(io("read", file.path()))?;
        // Of the contents of each, so that no text can move from one file to the next unseen.
        all.update(one.finalize().as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}
