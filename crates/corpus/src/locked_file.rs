//! Files that one process at a time writes to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Opens a file for reading and writing, and makes it where it is not there; `None` if another process has it. The system
/// lets go of it when this process ends, however it does.
///
/// # Errors
/// It cannot be opened or locked.
pub fn open_locked(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
