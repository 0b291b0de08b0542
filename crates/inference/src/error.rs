//! Why a text cannot be continued or scored.

use std::path::PathBuf;

use smollm3_chat::ChatError;
use smollm3_corpus::CorpusError;
use smollm3_kernels::DocumentsError;
use smollm3_model::GenerateError;
use smollm3_model::hf::CheckpointError;

/// A result with an [`InferenceError`].
pub type Result<T> = std::result::Result<T, InferenceError>;

/// A checkpoint cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// Its weights or its architecture.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tokenizer.
    #[error("{}: a checkpoint needs its tokenizer.json to read text: {source}", folder.display())]
    Tokenizer {
        /// The checkpoint.
        folder: PathBuf,
        /// The fault.
        source: CorpusError,
    },
    /// Text that the tokenizer refuses.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// Its template, or a conversation that the template refuses.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// It has no template.
    #[error("{}: the checkpoint has no chat template; ask it to continue text, or put a chat_template.jinja into it", folder.display())]
    NoTemplate {
        /// The checkpoint.
        folder: PathBuf,
    },
    /// A prompt that cannot be continued.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A tokenizer with more entries than the model has rows.
    #[error(
        "{}: the tokenizer has ids up to {}, but the embedding has {rows} rows; the tokenizer is another model's, or tokens were \
         added to it alone: smollm3 tokenizer add-chat-tokens adds rows with them",
        folder.display(),
        entries - 1
    )]
    Vocabulary {
        /// The checkpoint.
        folder: PathBuf,
        /// One past the highest id.
        entries: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A folder that is no checkpoint.
    #[error("{} is no checkpoint: it has no config.json", folder.display())]
    NoModel {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the checkpoint.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// Texts that do not fit a row.
    #[error(transparent)]
    Documents(#[from] DocumentsError),
    /// What was found cannot be shown.
    #[error("cannot write the text: {0}")]
    Write(#[from] std::io::Error),
}
