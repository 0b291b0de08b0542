//! Why a card cannot be written.

use std::path::{Path, PathBuf};

use smollm3_hub::HubError;

/// What can go wrong between a folder and its card.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The folder is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] HubError),
    /// Its architecture is not supported.
    #[error(transparent)]
    Architecture(#[from] smollm3_recipe::ModelConfigError),
    /// An adapter, of which nothing else is on record.
    #[error(
        "{path}: this adapter is not in a checkpoint of a run, so there is nothing to make a card of; write a README.md there",
        path = .0.display()
    )]
    Adapter(PathBuf),
    /// The run's records cannot be read.
    #[error(transparent)]
    Record(#[from] smollm3_records::RecordError),
    /// Another file cannot be read.
    #[error("{path}: cannot read: {problem}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, CardError>;

/// For `map_err`.
pub(crate) fn unreadable<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> CardError {
    let path = path.to_owned();
    move |error| CardError::Read {
        path: path.clone(),
        problem: error.to_string(),
    }
}
