//! What a run knows of the checkpoints in its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smollm3_files::FileHashes;

/// The newest of each stage, and the hashes of their files.
#[derive(Debug, Default)]
pub(crate) struct KnownCheckpoints {
    /// Newest checkpoints as rank 0 has told, by stage.
    told: Mutex<BTreeMap<String, PathBuf>>,
    /// Of files that this rank has read.
    pub hashes: FileHashes,
}

impl KnownCheckpoints {
    /// Those that rank 0 has told of.
    pub fn told(&self) -> MutexGuard<'_, BTreeMap<String, PathBuf>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checkpoint of a stage, if rank 0 has told of it.
    pub fn of(&self, stage: &str) -> Option<PathBuf> {
        self.told().get(stage).cloned()
    }
}
