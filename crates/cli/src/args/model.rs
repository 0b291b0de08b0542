//! A checkpoint where one is typed: a folder, or a model on the Hub.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Result;
use serde::{Serialize, Serializer};
use smollm3_hub::Wanted;

use crate::adapter::refuse_adapter;
use crate::hub::local_folder;

/// As it was typed, and the folder that it turned out to be.
#[derive(Debug, Clone)]
pub struct CheckpointArg {
    typed: PathBuf,
    folder: OnceLock<PathBuf>,
}

impl CheckpointArg {
    /// The folder of a whole model, fetched from the Hub where it is not on this machine.
    ///
    /// # Errors
    /// It is an adapter, or the Hub does not have it, or it cannot be fetched.
    pub fn folder(&self) -> Result<&Path> {
        let folder = self.model_or_adapter()?;
        refuse_adapter(&self.typed, folder)?;
        Ok(folder)
    }

    /// As [`folder`](Self::folder); it may hold an adapter.
    ///
    /// # Errors
    /// As `folder`.
    pub fn model_or_adapter(&self) -> Result<&Path> {
        if self.folder.get().is_none() {
            let found = local_folder(&self.typed, Wanted::MODEL)?;
            return Ok(self.folder.get_or_init(|| found));
        }
        Ok(self.folder.get_or_init(|| self.typed.clone()))
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
