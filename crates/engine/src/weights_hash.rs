//! What stands for a model in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::io;

/// blake3 of the weights and the architecture in a checkpoint's folder, whoever wrote it. Reads all weights.
///
/// # Errors
/// A file cannot be read.
pub fn weights_hash(folder: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "config.json" || (name.starts_with("model") && name.ends_with(".safetensors")) {
            files.push(path);
        }
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        hasher.update_mmap_rayon(file).map_err(io("read", file))?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_weights_and_architecture_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            weights_hash(folder.path()).unwrap()
        };
        let whole = write("config.json", "{}");
        let one = write("model-00001-of-00002.safetensors", "a");
        let two = write("model-00002-of-00002.safetensors", "b");
        assert!(whole != one && one != two);
        // A shard may change under an index that says the same.
        assert_ne!(write("model-00002-of-00002.safetensors", "c"), two);
        assert_eq!(write("model-00002-of-00002.safetensors", "b"), two);
        assert_eq!(write("optimizer.safetensors", "moments"), two);
        assert_eq!(write("README.md", "a card"), two);
        assert!(weights_hash(&folder.path().join("missing")).is_err());
    }
}
