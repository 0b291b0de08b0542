//! Files that are either whole or not there.
//!
//! What is left on disk is written under a hidden temporary name in the same folder,
//! synced, and renamed; a kill or a full disk leaves at most a `.name.partial`, which no reader opens
//! and the next run overwrites. The price is one `fsync` a file.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{FilesError, Result, io};

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
    /// Creates the folder of `target` where needed, and opens the temporary file beside it.
    ///
    /// # Errors
    /// Either cannot be made.
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

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// They cannot be written, which may show as late as in [`AtomicFile::sync`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(io("write", &self.target))
    }

    /// Brings everything written so far to the disk: where it is full, this is what says so.
    ///
    /// # Errors
    /// The system cannot keep it.
    pub fn sync(&mut self) -> Result<()> {
        let synced = self
            .writer
            .flush()
            .and_then(|()| self.writer.get_ref().sync_all());
        synced.map_err(io("write", &self.target))
    }

    /// Syncs the contents and gives the file its name.
    ///
    /// # Errors
    /// As [`AtomicFile::sync`], or the name cannot be given.
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

/// Writes a small file in one go.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write_atomically(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.write(bytes)?;
    file.commit()
}

/// Writes `value` as JSON, whole or not at all.
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

/// Whether there is no folder of this name, or nothing in it but what a kill left of files written here.
///
/// # Errors
/// It cannot be listed, for instance because it is a file.
pub fn is_vacant(folder: &Path) -> Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        entries => entries.map_err(io("list", folder))?,
    };
    for entry in entries {
        let name = entry.map_err(io("list", folder))?.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with('.') && name.ends_with(PARTIAL)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The temporary name of a file: `folder/name` → `folder/.name.partial`.
///
/// # Errors
/// `target` ends with no name.
pub fn partial_name(target: &Path) -> Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| FilesError::NoName {
        path: target.to_owned(),
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(PARTIAL);
    Ok(target.with_file_name(hidden))
}

/// Brings a file's contents to the disk.
///
/// # Errors
/// The system cannot keep them.
pub fn sync_file(path: &Path) -> Result<()> {
    // Windows syncs only files that are open for writing.
    let file = File::options().read(true).write(cfg!(windows)).open(path);
    file.and_then(|file| file.sync_all()).map_err(io("sync", path))
}

/// Makes the name of `target` in its folder durable.
///
/// # Errors
/// The system cannot keep it.
pub fn sync_parent(target: &Path) -> Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or_else(|| Path::new(".")))
}

/// Makes the names in a folder durable. Windows cannot open folders; there it is a no-op.
///
/// # Errors
/// The system cannot keep them.
pub fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(io("sync", folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
