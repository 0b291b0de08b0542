//! Errors of generating data.

use std::path::PathBuf;

use smollm3_chat::ChatError;
use smollm3_corpus::CorpusError;
use smollm3_inference::InferenceError;

/// The result of most functions here.
pub type Result<T, E = SynthesisError> = std::result::Result<T, E>;

/// Data cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum SynthesisError {
    /// The files of prompts cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A prompt cannot be used.
    #[error("{place}: {problem}")]
    Prompt {
        /// File and row.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A row holds no conversation.
    #[error("{place}: {source}")]
    Row {
        /// File and row.
        place: String,
        /// What is wrong with it.
        source: ChatError,
    },
    /// An endpoint does not answer.
    #[error("{address}: {problem}")]
    Endpoint {
        /// Its address.
        address: String,
        /// Its last answer, and what to do.
        problem: String,
    },
    /// The file of answers has other settings.
    #[error(
        "{} was begun with other settings:\n{differences}\nuse the same, or another --out",
        path.display()
    )]
    Differs {
        /// The file of answers.
        path: PathBuf,
        /// One line for each setting.
        differences: String,
    },
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// An option cannot be honoured.
    #[error("{0}")]
    Refused(String),
    /// The user stopped the work; the answers so far are kept.
    #[error("stopped")]
    Interrupted,
}
