//! What is in a folder.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Result, io};

/// The paths of everything in a folder, sorted.
///
/// # Errors
/// The folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(io("list", folder))?;
    let paths = entries.map(|entry| Ok(entry.map_err(io("list", folder))?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    paths.sort_unstable();
    Ok(paths)
}

/// Names of the plain files in a folder, sorted.
///
/// # Errors
/// The folder cannot be listed.
pub fn plain_files(folder: &Path) -> Result<Vec<String>> {
    let files = list(folder)?.into_iter().filter(|path| path.is_file());
    Ok(files
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect())
}

/// A file's text; `None` if there is no such file.
///
/// # Errors
/// It cannot be read.
pub fn read_if_present(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => Ok(Some(text.map_err(io("read", path))?)),
    }
}

/// Removes a file, if there is one.
///
/// # Errors
/// It cannot be removed.
pub fn remove_if_present(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(io("remove", path)),
    }
}
