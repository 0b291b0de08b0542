//! Which weights and which data a figure is of: hashes of the files, not their names.

use std::fs;
use std::path::{Path, PathBuf};

use blake3::Hasher;
use smollm3_corpus::shards::{LocalShards, Shards};

use crate::Result;
use crate::error::io;

/// Files of a checkpoint that decide what it says, beside its weights.
const COMPANIONS: [&str; 4] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// blake3 over what decides the answers of a checkpoint. Reads all weights, at the speed of the disk.
///
/// # Errors
/// A file cannot be read.
pub fn checkpoint_hash(folder: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = COMPANIONS.iter().map(|name| folder.join(name)).collect();
    files.retain(|file| file.is_file());
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            files.push(path);
        }
    }
    files.sort();
    hash(&files)
}

/// blake3 over the contents of data files, in the order in which they are read.
///
/// # Errors
/// A file is missing or cannot be read.
pub fn data_hash<S: AsRef<str>>(files: &[S]) -> Result<String> {
    let shards = LocalShards::find("the questions", files)?;
    let paths = (0..shards.shards().len()).map(|index| Ok(shards.open(index)?.path().to_owned()));
    hash(&paths.collect::<Result<Vec<PathBuf>>>()?)
}

fn hash(files: &[PathBuf]) -> Result<String> {
    let mut all = Hasher::new();
    for path in files {
        let mut one = Hasher::new();
        one.update_mmap_rayon(path).map_err(io("read", path))?;
        // Of the contents of each, so that no text can move from one file to the next unseen.
        all.update(one.finalize().as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}
