//! What can go wrong in an evaluation.

use std::path::PathBuf;

use smollm3_corpus::CorpusError;
use smollm3_engine::EngineError;
use smollm3_model::GenerateError;
use smollm3_model::hf::CheckpointError;
use smollm3_recipe::ProbeTask;

/// A result with an [`EvalError`].
pub type Result<T> = std::result::Result<T, EvalError>;

/// An evaluation cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A probe needs more room.
    #[error("the task {} needs {least} tokens with this tokenizer; length {length} is too short", task.name())]
    TooShort {
        /// The task.
        task: ProbeTask,
        /// Tokens that were given.
        length: usize,
        /// Tokens that are needed.
        least: usize,
    },
    /// Text or tokenizer.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The template.
    #[error(transparent)]
    Chat(#[from] smollm3_chat::ChatError),
    /// Conversations or pairs.
    #[error(transparent)]
    Sft(#[from] smollm3_sft::SftError),
    /// The model cannot be asked.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run cannot be read, or was stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file of results cannot be read.
    #[error("{}: {problem}; remove the file to measure again", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}
