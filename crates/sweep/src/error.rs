//! What can be wrong with a sweep. Each message is one sentence: where, what, and what to write instead.

use std::io;
use std::path::{Path, PathBuf};

use smollm3_hub::HubError;
use smollm3_recipe::{PlanError, RecipeError};

/// A sweep cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A file or folder cannot be used.
    #[error("{path}: cannot {action}: {source}", path = .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that is written whole.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// What a run's folder says.
    #[error(transparent)]
    Records(#[from] smollm3_records::RecordError),
    /// `sweep.toml` is not TOML, or a key of it cannot be honoured.
    #[error("{path}: {message}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// A grid cannot be understood.
    #[error("grid `{text}`: {message}")]
    Grid {
        /// What was given.
        text: String,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// What was asked for does not fit together.
    #[error("{0}")]
    Refused(String),
    /// The recipe of a variation cannot be used.
    #[error("variation \"{variation}\": {source}")]
    Recipe {
        /// Its name.
        variation: String,
        /// Why.
        source: Box<RecipeError>,
    },
    /// A model of the Hub that it names cannot be had.
    #[error("variation \"{variation}\": {source}")]
    Hub {
        /// Its name.
        variation: String,
        /// Why.
        source: Box<HubError>,
    },
    /// The plan of a variation's recipe does not work out.
    #[error("variation \"{variation}\": {source}")]
    Plan {
        /// Its name.
        variation: String,
        /// Why.
        source: Box<PlanError>,
    },
    /// A run's folder is of a recipe that is another one by now.
    #[error(
        "{path} holds a run of another recipe:\n{differences}\nundo the change, remove that folder to run it anew, or \
         write the changed sweep elsewhere (--output FOLDER)",
        path = .path.display()
    )]
    Changed {
        /// The folder.
        path: PathBuf,
        /// One line a key.
        differences: String,
    },
    /// Another process works on the same sweep.
    #[error("{path}: another process works on this sweep; wait for it, or write elsewhere (--output FOLDER)", path = .path.display())]
    Locked {
        /// The sweep's folder.
        path: PathBuf,
    },
}

/// The error for something that cannot be done with `path`.
pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SweepError {
    let path = path.to_owned();
    move |source| SweepError::Io { action, path, source }
}
