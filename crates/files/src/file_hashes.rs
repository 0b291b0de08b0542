//! Hashes of the files that a run reads, each file read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use blake3::{Hash, Hasher};
use serde::{Deserialize, Serialize};

use crate::error::{Result, io};

/// Length and blake3 of a file, as a manifest has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// Length.
    pub bytes: u64,
    /// In hexadecimal digits.
    pub blake3: String,
}

/// blake3 of a file's contents.
///
/// # Errors
/// It cannot be read.
pub fn hash_file(path: &Path) -> Result<Hash> {
    Ok(hashed(path)?.finalize())
}

fn hashed(path: &Path) -> Result<Hasher> {
    let mut hasher = Hasher::new();
    hasher.update_mmap_rayon(path).map_err(io("read", path))?;
    Ok(hasher)
}

impl FileHash {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let hasher = hashed(path)?;
        Ok(Self {
            bytes: hasher.count(),
            blake3: hasher.finalize().to_hex().to_string(),
        })
    }
}

/// Remembers the hashes of files, so that a checkpoint is read once however often a run looks at it. A file whose length
/// or time of change is another is read again.
#[derive(Debug, Default)]
pub struct FileHashes {
    known: Mutex<BTreeMap<PathBuf, (SystemTime, FileHash)>>,
    files_read: AtomicU64,
}

impl FileHashes {
    /// The hash of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, path: &Path) -> Result<FileHash> {
        let metadata = fs::metadata(path).map_err(io("read", path))?;
        let changed = metadata.modified().map_err(io("read", path))?;
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, hash)) = known().get(path)
            && (*at, hash.bytes) == (changed, metadata.len())
        {
            return Ok(hash.clone());
        }
        let hash = FileHash::of(path)?;
        self.files_read.fetch_add(1, Ordering::Relaxed);
        known().insert(path.to_owned(), (changed, hash.clone()));
        Ok(hash)
    }

    /// Stands for the weights and the architecture in a checkpoint's folder, whoever wrote it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn weights(&self, folder: &Path) -> Result<String> {
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder).map_err(io("list", folder))? {
            let entry = entry.map_err(io("list", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "config.json" || (name.starts_with("model") && name.ends_with(".safetensors")) {
                files.push((name, entry.path()));
            }
        }
        files.sort();
        let mut hasher = Hasher::new();
        for (name, path) in &files {
            let FileHash { bytes, blake3 } = self.get(path)?;
            hasher.update(format!("{name} {bytes} {blake3}\n").as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// How many files have been read.
    pub fn files_read(&self) -> u64 {
        self.files_read.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_weights_and_architecture_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            FileHashes::default().weights(folder.path()).unwrap()
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
        let missing = folder.path().join("missing");
        assert!(FileHashes::default().weights(&missing).is_err());
    }

    #[test]
    fn a_file_is_read_once_while_it_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let hashes = FileHashes::default();
        let write = |text: &str, at: u64| {
            fs::write(&path, text).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at);
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(at)
                .unwrap();
        };
        for (text, at, read) in [("a", 1, 1), ("a", 1, 1), ("b", 2, 2), ("bc", 2, 3), ("bc", 2, 3)] {
            write(text, at);
            assert_eq!(hashes.get(&path).unwrap(), FileHash::of(&path).unwrap());
            assert_eq!(hashes.files_read(), read, "{text} at {at}");
        }
        fs::remove_file(&path).unwrap();
        assert!(hashes.get(&path).is_err());
    }
}
