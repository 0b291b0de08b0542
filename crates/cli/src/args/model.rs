//! A checkpoint on the command line: a folder, or a model on the Hub.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Result;
use serde::{Serialize, Serializer};
use smollm3_hub::Wanted;

use crate::adapter::refuse_adapter;
use crate::hub::local_folder;

/// A checkpoint as typed, and its folder once located.
#[derive(Debug, Clone)]
pub struct CheckpointArg {
    typed: PathBuf,
    folder: OnceLock<PathBuf>,
}

impl CheckpointArg {
    /// The folder of a whole model, downloaded from the Hub if it is not on this machine.
    ///
    /// # Errors
    /// It is an adapter, the Hub does not have it, or it cannot be downloaded.
    pub fn folder(&self) -> Result<&Path> {
        let folder = self.model_or_adapter()?;
        refuse_adapter(&self.typed, folder)?;
        Ok(folder)
    }

    /// As [`folder`](Self::folder), but it may be an adapter.
    ///
    /// # Errors
    /// As `folder`.
    pub fn model_or_adapter(&self) -> Result<&Path> {
        if let Some(folder) = self.folder.get() {
            return Ok(folder);
        }
        let found = local_folder(&self.typed, Wanted::MODEL)?;
        Ok(self.folder.get_or_init(|| found))
    }
}

impl From<OsString> for CheckpointArg {
    fn from(typed: OsString) -> Self {
        Self {
            typed: typed.into(),
            folder: OnceLock::new(),
        }
    }
}

impl fmt::Display for CheckpointArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.typed.display().fmt(f)
    }
}

impl Serialize for CheckpointArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.typed.serialize(serializer)
    }
}
