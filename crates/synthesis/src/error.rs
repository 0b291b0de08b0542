//! What can go wrong between a prompt and a row with its answer.

use std::io;
use std::path::{Path, PathBuf};

use smollm3_chat::ChatError;
use smollm3_corpus::CorpusError;
use smollm3_inference::InferenceError;

/// A result, with a [`SynthesisError`] where nothing else is said.
pub type Result<T, E = SynthesisError> = std::result::Result<T, E>;

/// Answers cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum SynthesisError {
    /// The files of prompts.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A file that is written whole, locked or hashed.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// A checkpoint.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A prompt that cannot be asked.
    #[error("{place}: {problem}")]
    Prompt {
        /// File and row.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A prompt that holds no conversation.
    #[error("{place}: {source}")]
    Row {
        /// File and row.
        place: String,
        /// What is wrong with it.
        source: ChatError,
    },
    /// An endpoint that does not answer.
    #[error("{address}: {problem}")]
    Endpoint {
        /// Its address.
        address: String,
        /// What it said last, and what to do.
        problem: String,
    },
    /// Answers of another command.
    #[error(
        "{} was begun with other settings:\n{differences}\nask with the same, or write another --out",
        path.display()
    )]
    Differs {
        /// The file of answers.
        path: PathBuf,
        /// A line a setting.
        differences: String,
    },
    /// A file that is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Anything that was asked for and cannot be had.
    #[error("{0}")]
    Refused(String),
    /// The user stopped the work; the answers so far are kept.
    #[error("stopped")]
    Interrupted,
}

impl SynthesisError {
    /// An operation on `path` that the system refused.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |error| Self::File {
            path: path.to_owned(),
            problem: format!("cannot {action}: {error}"),
        }
    }
}
