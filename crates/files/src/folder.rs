//! What is in a folder.

use std::fs;
use std::path::Path;

use crate::error::{Result, io};

/// Names of the plain files in a folder, sorted.
///
/// # Errors
/// The folder cannot be listed.
pub fn plain_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let entry = entry.map_err(io("list", folder))?;
        if entry.path().is_file() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort_unstable();
    Ok(names)
}
