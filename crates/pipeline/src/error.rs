//! Why a recipe was not run to its end.

use smollm3_conversations::ConversationsError;
use smollm3_engine::EngineError;
use smollm3_eval::EvalError;
use smollm3_records::RecordError;

/// A recipe was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A stage on token rows, a merge, or the loop of any other.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A stage on conversations or pairs.
    #[error(transparent)]
    Conversations(ConversationsError),
    /// The evaluation of a checkpoint.
    #[error(transparent)]
    Evaluation(EvalError),
}

/// The result of most functions here.
pub type Result<T, E = PipelineError> = std::result::Result<T, E>;

/// A listener's.
impl From<RecordError> for PipelineError {
    fn from(error: RecordError) -> Self {
        Self::Engine(error.into())
    }
}

/// The engine's stays the engine's, whichever stage passed it on.
impl From<ConversationsError> for PipelineError {
    fn from(error: ConversationsError) -> Self {
        match error {
            ConversationsError::Engine(error) => Self::Engine(error),
            ConversationsError::Corpus(error) => Self::Engine(error.into()),
            error => Self::Conversations(error),
        }
    }
}

/// The engine's stays the engine's.
impl From<EvalError> for PipelineError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Engine(error) => Self::Engine(error),
            EvalError::Conversations(error) => (*error).into(),
            error => Self::Evaluation(error),
        }
    }
}

impl PipelineError {
    /// The engine's error, whichever stage passed it on.
    pub fn engine(&self) -> Option<&EngineError> {
        match self {
            Self::Engine(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the work was stopped and can go on.
    pub fn is_interrupted(&self) -> bool {
        self.engine().is_some_and(EngineError::is_interrupted)
    }
}
