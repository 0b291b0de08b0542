//! What ends a run early.

use std::path::{Path, PathBuf};

/// A stage cannot start, go on or be saved.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] smollm3_recipe::RecipeError),
    /// Text, tokenizer or token store.
    #[error(transparent)]
    Corpus(#[from] smollm3_corpus::CorpusError),
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
    /// Document boundaries of a row.
    #[error(transparent)]
    Documents(#[from] smollm3_kernels::DocumentsError),
    /// A file cannot be read or written.
    #[error("{path}: cannot {action}: {source}", path = .path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The output folder holds another recipe's run.
    #[error("{path} belongs to another recipe; these keys differ:\n{differences}\nWrite another folder with `--set run.output=…`, or remove this one", path = .path.display())]
    OtherRecipe {
        /// The output folder.
        path: PathBuf,
        /// One line a key.
        differences: String,
    },
    /// The loss is not a number any more.
    #[error(
        "stage {stage}, step {step}: the loss is {loss} and the gradient norm {grad_norm}; the update was not made. The last checkpoint is untouched: lower the learning rate or look at the data of this step"
    )]
    NotFinite {
        /// The stage.
        stage: String,
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
        /// Its gradient norm.
        grad_norm: f64,
    },
    /// Anything that the recipe asks for and cannot be had.
    #[error("{0}")]
    Refused(String),
    /// Stopped by the user; a checkpoint has been written.
    #[error("stopped after step {step} of stage {stage}; run the same command again to go on")]
    Interrupted {
        /// The stage.
        stage: String,
        /// The last step done.
        step: u64,
    },
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, EngineError>;

/// For `map_err` on file operations.
pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Io { action, path, source }
}
