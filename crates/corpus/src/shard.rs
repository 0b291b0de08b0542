//! One file of a source, and numbered lists of them.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Its path or URL, for messages; its ending tells the format.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Changes with the contents: modification time, entity tag, hash.
    pub version: String,
}

/// A shard on local disk for as long as this value lives.
#[derive(Debug)]
pub struct OpenShard {
    path: PathBuf,
    /// Keeps a cached file from being evicted.
    _pin: Option<Box<dyn Debug + Send + Sync>>,
}

impl OpenShard {
    /// A file that needs no pin.
    pub fn in_place(path: PathBuf) -> Self {
        OpenShard { path, _pin: None }
    }

    pub(crate) fn pinned(path: PathBuf, pin: impl Debug + Send + Sync + 'static) -> Self {
        OpenShard {
            path,
            _pin: Some(Box::new(pin)),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A numbered list of files.
pub trait Shards: Sync {
    /// The source's name, for messages and reports.
    fn name(&self) -> &str;

    /// The files, in order.
    fn shards(&self) -> &[Shard];

    /// Opens file `index` on local disk, fetching it if needed.
    ///
    /// # Errors
    /// It cannot be fetched; the message names the source.
    fn open(&self, index: usize) -> Result<OpenShard>;

    /// Starts fetching file `index` in the background. Returns at once.
    fn prefetch(&self, index: usize) {
        let _ = index;
    }
}
