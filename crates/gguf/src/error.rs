use std::path::PathBuf;

use smollm3_chat::ChatError;
use smollm3_corpus::CorpusError;
use smollm3_model::hf::CheckpointError;

/// A checkpoint cannot be written as GGUF.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The weights or their configuration.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] CorpusError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] ChatError),
    /// llama.cpp has no form for something of the checkpoint, or would compute it differently.
    #[error("{folder}: llama.cpp cannot run this checkpoint: {problem}", folder = .folder.display())]
    Unsupported {
        /// The checkpoint.
        folder: PathBuf,
        /// What it is.
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
    /// There is a file of that name.
    #[error("{path} exists; write another --out, or remove it", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("{path}: cannot write: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
