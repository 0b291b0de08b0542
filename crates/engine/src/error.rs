//! What ends a run early.

use std::path::PathBuf;

use smollm3_collective::CollectiveError;
use smollm3_corpus::CorpusError;
use smollm3_recipe::PlanError;
use smollm3_records::RecordError;
use smollm3_sources::SourceError;

/// A stage cannot start, resume or be saved.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] smollm3_recipe::RecipeError),
    /// Text, tokenizer or token store.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A file cannot be read, written or locked.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// The order of data.
    #[error(transparent)]
    Mixer(#[from] smollm3_mixer::MixError),
    /// A window of a token store.
    #[error(transparent)]
    Window(#[from] smollm3_mixer::WindowError),
    /// A checkpoint in Hugging Face form.
    #[error(transparent)]
    HuggingFace(#[from] smollm3_model::hf::CheckpointError),
    /// A parameter or a moment.
    #[error(transparent)]
    Parameter(#[from] smollm3_model::ParameterError),
    /// Tensor files.
    #[error(transparent)]
    Shards(#[from] smollm3_model::hf::ShardError),
    /// The device.
    #[error(transparent)]
    Device(#[from] smollm3_kernels::DeviceError),
    /// Ranks could not do something together.
    #[error(transparent)]
    Collective(Box<CollectiveError>),
    /// Rank 0 failed while the others waited for it.
    #[error("rank 0 failed while this rank waited for it; its own message says why")]
    FirstEnded,
    /// Parameters that cannot be divided among ranks.
    #[error(transparent)]
    Layout(#[from] smollm3_collective::LayoutError),
    /// Document boundaries of a row.
    #[error(transparent)]
    Documents(#[from] smollm3_kernels::DocumentsError),
    /// The output folder holds training of another recipe.
    #[error("{path} belongs to another recipe; what has been trained in it depends on these keys, which differ:\n{differences}\nWrite another folder with `--set run.output=…`, or remove this one", path = .path.display())]
    OtherRecipe {
        /// The output folder.
        path: PathBuf,
        /// One line a key.
        differences: String,
    },
    /// Going back to a checkpoint did not help.
    #[error("stage {stage}, step {step}: again {patience} steps in a row could not be trained on, after the run went back and left out {}; the last good checkpoint is untouched. incidents.jsonl in the stage's folder has each step and its data; `smollm3 data order` shows the text. Lower the learning rate, or leave the data out", spans(.left_out))]
    Diverged {
        /// The stage.
        stage: String,
        /// The step.
        step: u64,
        /// Steps without an update in a row.
        patience: u64,
        /// First and last steps of the data left out before.
        left_out: Vec<(u64, u64)>,
    },
    /// There is no checkpoint to go back to.
    #[error(
        "stage {stage}, step {step}: {patience} steps in a row could not be trained on, and there is no checkpoint of a good step to go back to. incidents.jsonl in the stage's folder has each step and its data; `smollm3 data order` shows the text. Lower the learning rate or checkpoint.every, or leave the data out"
    )]
    NothingGood {
        /// The stage.
        stage: String,
        /// The step.
        step: u64,
        /// Steps without an update in a row.
        patience: u64,
    },
    /// Another process has the run.
    #[error("{path}: another process{holder} is working in this folder; wait for it or stop it", path = .path.display())]
    Locked {
        /// The output folder.
        path: PathBuf,
        /// ` (pid N)`, if known.
        holder: String,
    },
    /// A request of the recipe that cannot be met.
    #[error("{0}")]
    Refused(String),
    /// A model of the Hub.
    #[error(transparent)]
    Hub(#[from] smollm3_hub::HubError),
    /// Stopped by the user; a checkpoint has been written.
    #[error("stopped after step {step} of stage {stage}; run the same command again to go on")]
    Interrupted {
        /// The stage.
        stage: String,
        /// The last step done.
        step: u64,
    },
}

impl EngineError {
    /// Whether the work was stopped and can go on.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            Self::Interrupted { .. } | Self::Corpus(CorpusError::Interrupted)
        )
    }
}

/// Boxed, because it is the largest by far.
impl From<CollectiveError> for EngineError {
    fn from(error: CollectiveError) -> Self {
        Self::Collective(Box::new(error))
    }
}

/// From listeners and from the files of a run.
impl From<RecordError> for EngineError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Files(error) => error.into(),
            RecordError::Interrupted => CorpusError::Interrupted.into(),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Rows that ranks cannot divide among themselves.
impl From<PlanError> for EngineError {
    fn from(error: PlanError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// From a recipe's data.
impl From<SourceError> for EngineError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Corpus(error) => error.into(),
            SourceError::Window(error) => error.into(),
            SourceError::Files(error) => error.into(),
            SourceError::Listener(error) => error.into(),
            SourceError::Refused(problem) => Self::Refused(problem),
        }
    }
}

fn spans(left_out: &[(u64, u64)]) -> String {
    let span = |(first, last): &(u64, u64)| format!("the data of steps {first} to {last}");
    left_out.iter().map(span).collect::<Vec<_>>().join(", ")
}

/// The result of most functions here.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
