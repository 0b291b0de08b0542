//! What can be wrong with a sweep. Each message is one sentence: where, what, and what to write instead.

use std::path::PathBuf;

use smollm3_files::FilesError;
use smollm3_hub::HubError;
use smollm3_recipe::{PlanError, RecipeError};

/// A sweep cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A record in a run's folder cannot be read.
    #[error(transparent)]
    Records(#[from] smollm3_records::RecordError),
    /// `sweep.toml` is not TOML, or a key of it cannot be honoured: the file, and what to write instead.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, String),
    /// A grid cannot be understood: the text, and what to write instead.
    #[error("grid `{0}`: {1}")]
    Grid(String, String),
    /// What was asked for does not fit together.
    #[error("{0}")]
    Refused(String),
    /// The recipe of the variation of this name cannot be used.
    #[error("variation \"{0}\": {1}")]
    Recipe(String, #[source] Box<RecipeError>),
    /// A Hub model that this variation names cannot be located.
    #[error("variation \"{0}\": {1}")]
    Hub(String, #[source] Box<HubError>),
    /// The plan of this variation's recipe does not work out.
    #[error("variation \"{0}\": {1}")]
    Plan(String, #[source] Box<PlanError>),
    /// The recipe of the run in this folder has changed since, with one line for each key that differs.
    #[error(
        "{path} holds a run of another recipe:\n{1}\nundo the change, remove that folder to run it anew, or \
         write the changed sweep elsewhere (--output FOLDER)",
        path = .0.display()
    )]
    Changed(PathBuf, String),
    /// Another process works on the sweep in this folder.
    #[error("{}: another process works on this sweep; wait for it, or write elsewhere (--output FOLDER)", .0.display())]
    Locked(PathBuf),
}
