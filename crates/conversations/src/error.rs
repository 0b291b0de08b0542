//! Errors of stages on conversations.

use std::path::PathBuf;

use smollm3_chat::ChatError;
use smollm3_corpus::CorpusError;
use smollm3_engine::EngineError;
use smollm3_packing::PackError;
use smollm3_recipe::RecipeError;
use smollm3_records::RecordError;
use smollm3_sources::SourceError;

/// A result with an [`ConversationsError`].
pub type Result<T> = std::result::Result<T, ConversationsError>;

/// A stage on conversations cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ConversationsError {
    /// A row of the data.
    #[error("{place}: {source}")]
    Row {
        /// Name of the data, file and row.
        place: String,
        /// The fault.
        source: ChatError,
    },
    /// Template or tokenizer.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Packing.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Files of rows, token stores.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A file that is written whole or hashed.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// The loop.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file of masks or a report.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The fault.
        problem: String,
    },
    /// Another request of the recipe that cannot be met.
    #[error("{0}")]
    Refused(String),
}

/// As an error of the engine's loop.
impl From<ConversationsError> for EngineError {
    fn from(error: ConversationsError) -> Self {
        match error {
            ConversationsError::Engine(error) => error,
            ConversationsError::Corpus(error) => error.into(),
            other => Self::Refused(other.to_string()),
        }
    }
}

/// From listeners and from the files of a run.
impl From<RecordError> for ConversationsError {
    fn from(error: RecordError) -> Self {
        Self::Engine(error.into())
    }
}

/// From a recipe.
impl From<RecipeError> for ConversationsError {
    fn from(error: RecipeError) -> Self {
        Self::Engine(error.into())
    }
}

/// From a recipe's data.
impl From<SourceError> for ConversationsError {
    fn from(error: SourceError) -> Self {
        Self::Engine(error.into())
    }
}
