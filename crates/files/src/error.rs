//! Why a file cannot be read or written.

use std::path::{Path, PathBuf};

/// A file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The operating system refused (missing file, full disk, no permission).
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A path that ends with no name, as `/` or `..`.
    #[error("`{}` does not name a file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A value that JSON cannot hold.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file that it was for.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// The result of most functions here.
pub type Result<T, E = FilesError> = std::result::Result<T, E>;

/// [`FilesError::Io`] for `action` on `path`, in the form that `map_err` takes.
pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io { action, path, source }
}
