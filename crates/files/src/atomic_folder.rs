//! Folders that are either complete or absent.

use std::fs;
use std::path::{Path, PathBuf};

use crate::atomic_file::{sync_file, sync_folder, sync_parent};
use crate::error::{FilesError, Result, io};
use crate::folder::plain_files;

/// A folder that is written under the name `.NAME.part` and renamed once everything in it is synced. It is removed unless it is
/// committed.
#[derive(Debug)]
pub struct AtomicFolder {
    target: PathBuf,
    draft: PathBuf,
    committed: bool,
}

impl AtomicFolder {
    /// Creates the draft next to `target`, in place of one that a killed process left.
    ///
    /// # Errors
    /// `target` exists or does not end in a name, or the draft cannot be created.
    pub fn create(target: &Path) -> Result<Self> {
        refuse_existing(target)?;
        let name = target.file_name().ok_or_else(|| FilesError::NoName {
            path: target.to_owned(),
        })?;
        let draft = target.with_file_name(format!(".{}.part", name.display()));
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(io("remove", &draft))?;
        }
        fs::create_dir_all(&draft).map_err(io("create", &draft))?;
        Ok(Self {
            target: target.to_owned(),
            draft,
            committed: false,
        })
    }

    /// The folder to write to.
    pub fn path(&self) -> &Path {
        &self.draft
    }

    /// Writes a small file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.draft.join(name);
        fs::write(&path, bytes).map_err(io("write", &path))
    }

    /// Syncs every file and renames the folder to its target.
    ///
    /// # Errors
    /// The disk is full, or the target has appeared meanwhile.
    pub fn commit(mut self) -> Result<()> {
        for name in plain_files(&self.draft)? {
            sync_file(&self.draft.join(name))?;
        }
        sync_folder(&self.draft)?;
        refuse_existing(&self.target)?;
        fs::rename(&self.draft, &self.target).map_err(io("create", &self.target))?;
        self.committed = true;
        sync_parent(&self.target)
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        if !self.committed {
            // The error that led here is the one that matters.
            let _ = fs::remove_dir_all(&self.draft);
        }
    }
}

/// Refuses a path that exists, even as a link to nothing.
///
/// # Errors
/// It exists.
pub fn refuse_existing(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(FilesError::Exists {
            path: path.to_owned(),
        }),
        Err(_) => Ok(()),
    }
}
