//! Reading a file of a run's folder, and why that or writing one fails.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use smollm3_files::{FilesError, io};

/// A record cannot be read or written, or a listener ends the work.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A file has the wrong content.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A request that cannot be met.
    #[error("{0}")]
    Refused(String),
    /// A listener was asked to stop (Ctrl-C).
    #[error("stopped before the end; run the same command again to go on")]
    Interrupted,
}

/// The result of most functions here.
pub type Result<T, E = RecordError> = std::result::Result<T, E>;

/// [`RecordError::Content`] of a file, in the form that `map_err` takes.
pub(crate) fn content<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> RecordError {
    let path = path.to_owned();
    move |error| RecordError::Content {
        path,
        problem: error.to_string(),
    }
}

/// The bytes of a file; `None` if it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        bytes => Ok(Some(bytes.map_err(io("read", path))?)),
    }
}

/// The value in a JSON file; `None` if it does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let value = read(path)?.map(|bytes| serde_json::from_slice(&bytes));
    value.transpose().map_err(content(path))
}
