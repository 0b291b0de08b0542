//! Why an evaluation fails.

use std::path::PathBuf;

use smollm3_conversations::ConversationsError;
use smollm3_corpus::{CorpusError, TokenStore};
use smollm3_engine::EngineError;
use smollm3_inference::InferenceError;
use smollm3_model::GenerateError;
use smollm3_model::hf::CheckpointError;
use smollm3_recipe::ProbeTask;
use smollm3_records::RecordError;

/// A result with an [`EvalError`].
pub type Result<T> = std::result::Result<T, EvalError>;

/// An evaluation cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A probe needs more room.
    #[error("the task {task} needs {least} tokens with this tokenizer; length {length} is too short")]
    TooShort {
        /// The task.
        task: ProbeTask,
        /// Tokens that were given.
        length: usize,
        /// Tokens that are needed.
        least: usize,
    },
    /// A file without rows.
    #[error("{files}: there is no row to evaluate")]
    Empty {
        /// What was read.
        files: String,
    },
    /// Columns of another data set.
    #[error("{place}: {suite} reads the columns {needed}; there are {found}")]
    Columns {
        /// The row.
        place: String,
        /// The suite.
        suite: String,
        /// What it needs.
        needed: String,
        /// The columns found.
        found: String,
    },
    /// A row that cannot be used.
    #[error("{place}: {problem}")]
    Row {
        /// The row.
        place: String,
        /// The fault.
        problem: String,
    },
    /// Too few examples.
    #[error(
        "{asked} examples are asked for{of}, and there are {found}; write --shots {found} or give more rows by --shots-from"
    )]
    Shots {
        /// `--shots`.
        asked: usize,
        /// ` of this subject`.
        of: String,
        /// Rows that can be examples.
        found: usize,
    },
    /// A continuation that merges with the last token of its context.
    #[error("{continuation:?} has no separate token after its context")]
    NoContinuation {
        /// The continuation.
        continuation: String,
    },
    /// A model whose weights or numbers are broken.
    #[error(
        "{figure} is {value}: the model's weights are damaged, or its numbers overflow in this precision; try f32, or an earlier checkpoint"
    )]
    NotFinite {
        /// What was measured.
        figure: String,
        /// The value.
        value: f64,
    },
    /// Text that the model cannot be given.
    #[error("{place}: {problem}")]
    Item {
        /// The item.
        place: String,
        /// The fault.
        problem: Box<EvalError>,
    },
    /// A folder of results belongs to something else.
    #[error("{} holds another evaluation; these differ:\n{differences}\nWrite --out with a new folder, or remove this one", folder.display())]
    OtherSettings {
        /// The folder.
        folder: PathBuf,
        /// One line a setting.
        differences: String,
    },
    /// A folder that is no evaluation's.
    #[error("{} exists, is not empty and holds no evaluation; write --out with a new folder", folder.display())]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process works in the folder.
    #[error("{}: another process is working in this folder; wait for it or stop it", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A store of another tokenizer.
    #[error("{}: token {id} is outside the model's vocabulary of {vocab_size}; tokenise the text with the checkpoint's tokenizer", store.display())]
    OtherTokenizer {
        /// The store.
        store: PathBuf,
        /// The token.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The checkpoint with its tokenizer and template.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// Text or tokenizer.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A file cannot be read, written or locked.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// The template.
    #[error(transparent)]
    Chat(#[from] smollm3_chat::ChatError),
    /// Conversations or pairs.
    #[error(transparent)]
    Conversations(Box<ConversationsError>),
    /// The model cannot be asked.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run cannot be read, or was stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Stopped by the user.
    #[error("stopped before the end{}", if *.kept { "; run the same command again to go on" } else { "" })]
    Interrupted {
        /// Whether what was found so far is kept in a folder.
        kept: bool,
    },
    /// A file of results cannot be read.
    #[error("{}: {problem}; remove the file to measure again", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// The fault.
        problem: String,
    },
}

/// A figure that can be reported.
pub(crate) fn finite(value: f64, figure: impl FnOnce() -> String) -> Result<f64> {
    match value.is_finite() {
        true => Ok(value),
        false => Err(EvalError::NotFinite {
            figure: figure(),
            value,
        }),
    }
}

impl EvalError {
    /// Checks that all tokens of a document of a store are in the model's vocabulary.
    pub(crate) fn check_vocabulary(store: &TokenStore, ids: &[u32], vocab_size: usize) -> Result<()> {
        match ids.iter().find(|id| **id as usize >= vocab_size) {
            None => Ok(()),
            Some(&id) => Err(Self::OtherTokenizer {
                store: store.path().to_owned(),
                id,
                vocab_size,
            }),
        }
    }

    /// The same with the item that it is about.
    pub(crate) fn at(self, place: &str) -> Self {
        Self::Item {
            place: place.to_owned(),
            problem: Box::new(self),
        }
    }
}

impl From<ConversationsError> for EvalError {
    fn from(error: ConversationsError) -> Self {
        Self::Conversations(Box::new(error))
    }
}

/// From a listener or the files of a run.
impl From<RecordError> for EvalError {
    fn from(error: RecordError) -> Self {
        Self::Engine(error.into())
    }
}
