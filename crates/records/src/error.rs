//! Why a run's folder cannot be read or written, or why a listener ends the work.

use std::path::{Path, PathBuf};

use smollm3_files::FilesError;

/// A record cannot be read or written, or a listener ends the work.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A file that is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Anything that was asked for and cannot be had.
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
