//! File locks between processes. The system releases them when their holder ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Opens a file for this handle alone, and creates it where it is missing; `None` if another handle has locked it.
///
/// # Errors
/// It cannot be opened or locked.
pub fn open_locked(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    locked(file.try_lock()).map(|locked| locked.then_some(file))
}

/// As [`open_locked`], for any number of handles at once; `None` if one has the file for itself.
///
/// # Errors
/// It cannot be opened or locked.
pub fn open_shared(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    locked(file.try_lock_shared()).map(|locked| locked.then_some(file))
}

/// As [`open_locked`], but waits for the other handles.
///
/// # Errors
/// It cannot be opened or locked.
pub fn wait_locked(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    file.lock()?;
    Ok(file)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}

fn locked(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
