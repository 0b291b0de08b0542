//! Errors of the conversion.

use std::path::PathBuf;

use smollm3_chat::ChatError;
use smollm3_corpus::CorpusError;
use smollm3_model::hf::CheckpointError;

/// A checkpoint cannot be converted to GGUF.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The weights or their configuration cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] CorpusError),
    /// The chat template cannot be read.
    #[error(transparent)]
    Template(#[from] ChatError),
    /// llama.cpp does not support the checkpoint, or would compute it differently.
    #[error("{folder}: llama.cpp cannot run this checkpoint: {problem}", folder = .folder.display())]
    Unsupported {
        /// The checkpoint.
        folder: PathBuf,
        /// Why.
        problem: String,
    },
    /// A weight does not fit into 16 bits.
    #[error("{folder}: tensor \"{name}\" has values that f16 cannot hold (beyond 65504, or not a number)", folder = .folder.display())]
    Range {
        /// The checkpoint.
        folder: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
}
