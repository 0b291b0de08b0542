//! Files that are either complete or absent.
//!
//! A file is written under a hidden temporary name in the same folder, synced, and renamed. A kill or a full disk leaves at
//! most a `.name.partial`, which no reader opens and the next run overwrites. The cost is one `fsync` per file.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{FilesError, Result, io};
use crate::folder::list;

const PARTIAL: &str = ".partial";

/// A buffered file that appears under its name only when [`AtomicFile::commit`] succeeds.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    partial: PathBuf,
    writer: BufWriter<File>,
    committed: bool,
}

impl AtomicFile {
    /// Creates the folder of `target` if needed, and opens the temporary file next to it.
    ///
    /// # Errors
    /// Either cannot be created.
    pub fn create(target: &Path) -> Result<Self> {
        let folder = target.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let partial = partial_name(target)?;
        let file = File::create(&partial).map_err(io("create", &partial))?;
        let writer = BufWriter::with_capacity(1 << 20, file);
        Ok(AtomicFile {
            target: target.to_owned(),
            partial,
            writer,
            committed: false,
        })
    }

    /// Writes all of `bytes` to the buffer.
    ///
    /// # Errors
    /// The write fails; writes are buffered, so the error may surface only in [`AtomicFile::sync`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(io("write", &self.target))
    }

    /// Flushes and syncs everything written so far; a full disk shows here.
    ///
    /// # Errors
    /// The data cannot be stored.
    pub fn sync(&mut self) -> Result<()> {
        let synced = self
            .writer
            .flush()
            .and_then(|()| self.writer.get_ref().sync_all());
        synced.map_err(io("write", &self.target))
    }

    /// Syncs the contents and renames the file to its target.
    ///
    /// # Errors
    /// As [`AtomicFile::sync`], or renaming fails.
    pub fn commit(mut self) -> Result<()> {
        self.sync()?;
        fs::rename(&self.partial, &self.target).map_err(io("write", &self.target))?;
        self.committed = true;
        sync_parent(&self.target)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Writes a small file atomically.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write_atomically(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.write(bytes)?;
    file.commit()
}

/// Writes `value` atomically as indented JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|source| FilesError::Json {
        path: path.to_owned(),
        source,
    })?;
    write_atomically(path, (text + "\n").as_bytes())
}

/// Whether the folder is absent, or holds nothing but partial files left by a kill.
///
/// # Errors
/// It cannot be listed, for instance because it is a file.
pub fn is_vacant(folder: &Path) -> Result<bool> {
    let is_partial = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.') && name.ends_with(PARTIAL)
    };
    match list(folder) {
        Err(FilesError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(true),
        paths => Ok(paths?.iter().all(is_partial)),
    }
}

/// The temporary name of a file: `folder/name` → `folder/.name.partial`.
///
/// # Errors
/// `target` does not end in a file name.
pub fn partial_name(target: &Path) -> Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| FilesError::NoName {
        path: target.to_owned(),
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(PARTIAL);
    Ok(target.with_file_name(hidden))
}

/// Syncs a file's contents to disk.
///
/// # Errors
/// The file cannot be synced.
pub fn sync_file(path: &Path) -> Result<()> {
    // Windows syncs only files that are open for writing.
    let file = File::options().read(true).write(cfg!(windows)).open(path);
    file.and_then(|file| file.sync_all()).map_err(io("sync", path))
}

/// Makes the name of `target` durable by syncing its folder.
///
/// # Errors
/// As [`sync_folder`].
pub fn sync_parent(target: &Path) -> Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or_else(|| Path::new(".")))
}

/// Makes the names in a folder durable. A no-op on Windows, which cannot open folders.
///
/// # Errors
/// The folder cannot be synced.
pub fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(io("sync", folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
