//! File locks between processes. The system releases them when their holder ends, even by a kill.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Opens (or creates) a file under an exclusive lock; `None` if another handle holds a lock.
///
/// # Errors
/// It cannot be opened or locked.
pub fn open_locked(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    locked(file.try_lock()).map(|locked| locked.then_some(file))
}

/// As [`open_locked`], under a shared lock; `None` if another handle holds an exclusive one.
///
/// # Errors
/// It cannot be opened or locked.
pub fn open_shared(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    locked(file.try_lock_shared()).map(|locked| locked.then_some(file))
}

/// As [`open_locked`], but waits for the lock.
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
