//! Why tensor files cannot be read or written.

use std::path::PathBuf;

/// Tensor files cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// A file cannot be opened.
    #[error("{path}: cannot read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{path}: cannot write: {message}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A file is truncated or not safetensors.
    #[error("{path}: not a complete safetensors file: {message}", path = .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// The folder has no tensors.
    #[error("{path}: no {stem}.safetensors and no {stem}.safetensors.index.json in this folder", path = .path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// `model` or `optimizer`.
        stem: String,
    },
    /// The index does not describe the files.
    #[error("{path}: {message}", path = .path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// The fault.
        message: String,
    },
}
