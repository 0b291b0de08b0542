//! The crate's error.

use smollm3_corpus::CorpusError;
use smollm3_files::FilesError;
use smollm3_mixer::WindowError;
use smollm3_records::RecordError;

/// A source or the tokenizer is unavailable.
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
    /// A listener ended the work.
    #[error(transparent)]
    Listener(#[from] RecordError),
    /// Another request of the recipe that cannot be met.
    #[error("{0}")]
    Refused(String),
}

/// `Result` with [`SourceError`].
pub type Result<T, E = SourceError> = std::result::Result<T, E>;
