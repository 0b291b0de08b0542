//! The crate's error.

use std::path::{Path, PathBuf};

/// A file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The operating system refused (missing file, full disk, no permission).
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The operation as a verb: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// What is to be written exists already.
    #[error("{} exists; choose another name, or remove it", path.display())]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A path without a file name, such as `/` or `..`.
    #[error("`{}` does not name a file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A value that JSON cannot represent.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The serializer's error.
        source: serde_json::Error,
    },
}

/// `Result` with [`FilesError`].
pub type Result<T, E = FilesError> = std::result::Result<T, E>;

/// [`FilesError::Io`] for `action` on `path`, for `map_err`.
pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io { action, path, source }
}
