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
use crate::folder::list;

/// Length and blake3 of a file, as listed in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// Length in bytes.
    pub bytes: u64,
    /// The hash in hexadecimal digits.
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
    /// Reads and hashes a file.
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

/// Caches the hashes of files, so that a run reads each checkpoint once. A file whose length or modification time changed
/// is read again.
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

    /// A fingerprint of the weights and the architecture in a checkpoint's folder.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn weights(&self, folder: &Path) -> Result<String> {
        let mut files = BTreeMap::new();
        for path in list(folder)? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if is_of_weights(&name) {
                files.insert(name, self.get(&path)?);
            }
        }
        Ok(weights_fingerprint(&files))
    }

    /// How many files have been read.
    pub fn files_read(&self) -> u64 {
        self.files_read.load(Ordering::Relaxed)
    }
}

/// [`FileHashes::weights`] of a folder with these files.
pub fn weights_fingerprint(files: &BTreeMap<String, FileHash>) -> String {
    let mut hasher = Hasher::new();
    for (name, FileHash { bytes, blake3 }) in files.iter().filter(|(name, _)| is_of_weights(name)) {
        hasher.update(format!("{name} {bytes} {blake3}\n").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn is_of_weights(name: &str) -> bool {
    name == "config.json" || (name.starts_with("model") && name.ends_with(".safetensors"))
}
