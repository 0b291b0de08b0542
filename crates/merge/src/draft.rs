//! The result's folder: written under a draft name, and renamed once everything in it is synced.

use std::fs;
use std::path::{Path, PathBuf};

use smollm3_files::atomic_file::{sync_file, sync_folder, sync_parent};
use smollm3_files::{io, plain_files};

use crate::{MergeError, Result};

/// A folder that is removed unless it is committed.
#[derive(Debug)]
pub(crate) struct Draft {
    out: PathBuf,
    folder: PathBuf,
    committed: bool,
}

impl Draft {
    /// Creates `.NAME.part` beside `out`, replacing one that a killed process left.
    ///
    /// # Errors
    /// `out` exists or names nothing, or the folder cannot be created.
    pub fn create(out: &Path) -> Result<Self> {
        if out.symlink_metadata().is_ok() {
            return Err(MergeError::OutputExists(out.to_owned()));
        }
        let Some(name) = out.file_name() else {
            return Err(MergeError::OutputName(out.to_owned()));
        };
        let folder = out.with_file_name(format!(".{}.part", name.display()));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(io("remove", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        Ok(Self {
            out: out.to_owned(),
            folder,
            committed: false,
        })
    }

    /// Where to write.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a small file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        Ok(fs::write(&path, bytes).map_err(io("write", &path))?)
    }

    /// Syncs every file and gives the folder its name.
    ///
    /// # Errors
    /// The disk is full, or `out` has appeared meanwhile.
    pub fn commit(mut self) -> Result<()> {
        for name in plain_files(&self.folder)? {
            sync_file(&self.folder.join(name))?;
        }
        sync_folder(&self.folder)?;
        if self.out.symlink_metadata().is_ok() {
            return Err(MergeError::OutputExists(self.out.clone()));
        }
        fs::rename(&self.folder, &self.out).map_err(io("create", &self.out))?;
        self.committed = true;
        Ok(sync_parent(&self.out)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.committed {
            // The error that led here is the one that matters.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
