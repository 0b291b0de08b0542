//! The checkpoints in a run's folder that it has looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smollm3_files::FileHashes;

/// The newest of each stage, and the hashes of their files.
#[derive(Debug, Default)]
pub(crate) struct KnownCheckpoints {
    /// The newest checkpoint of each stage, as rank 0 has announced it.
    announced: Mutex<BTreeMap<String, PathBuf>>,
    /// Hashes of files that this rank has read.
    pub hashes: FileHashes,
}

impl KnownCheckpoints {
    /// Those that rank 0 has announced.
    pub fn announced(&self) -> MutexGuard<'_, BTreeMap<String, PathBuf>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checkpoint of a stage, if rank 0 has announced it.
    pub fn of(&self, stage: &str) -> Option<PathBuf> {
        self.announced().get(stage).cloned()
    }
}
