//! Why a recipe's data cannot be had.

use smollm3_corpus::CorpusError;
use smollm3_files::FilesError;
use smollm3_mixer::WindowError;
use smollm3_records::RecordError;

/// A source or the tokenizer cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Text, tokenizer or token store.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A window of a token store.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A file of the run's folder.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A listener ends the work.
    #[error(transparent)]
    Listener(#[from] RecordError),
    /// Anything that the recipe asks for and cannot be had.
    #[error("{0}")]
    Refused(String),
}

/// The result of most functions here.
pub type Result<T, E = SourceError> = std::result::Result<T, E>;
