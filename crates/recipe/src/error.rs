//! Errors of a recipe. Each message is one sentence: where, what, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use crate::key_path::KeyPath;
use crate::model_config::ModelConfigError;

/// A recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A file of the recipe cannot be read.
    #[error("{path}: cannot read {what}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What was expected there.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the recipe is not TOML.
    #[error("{path}, line {line}: {message}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A key is missing, unknown, or has a value that cannot be honoured.
    #[error("{place}: `{key}`: {message}")]
    Key {
        /// The file and line, or the override, that has the key.
        place: KeyLocation,
        /// The dotted path of the key, as `--set` takes it.
        key: String,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// A `--set key=value` cannot be applied.
    #[error("--set {text}: {message}")]
    Override {
        /// What was given.
        text: String,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// The architecture cannot be used.
    #[error(transparent)]
    Model(#[from] ModelConfigError),
    /// A stage or a checkpoint does not exist.
    #[error("{0}")]
    Stage(String),
    /// The recorded recipe in a run's folder is damaged.
    #[error(
        "the recorded recipe is not readable ({0}); the run folder is damaged, choose another output folder"
    )]
    Record(String),
}

impl RecipeError {
    /// A problem with settings that were not read from a file.
    pub(crate) fn unplaced(problem: Problem) -> Self {
        Self::Key {
            place: KeyLocation::File {
                path: PathBuf::from("recipe.toml"),
                line: None,
            },
            key: problem.path.to_string(),
            message: problem.message,
        }
    }
}

/// Where a key is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLocation {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where it is known.
        line: Option<usize>,
    },
    /// On the command line.
    Override(String),
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}, line {line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Override(text) => write!(f, "--set {text}"),
        }
    }
}

/// A problem below some table; the reader of the file adds its place and makes it a [`RecipeError::Key`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) path: KeyPath,
    pub(crate) message: String,
}

impl Problem {
    /// A problem with `key`, or with the table itself when `key` is empty.
    pub(crate) fn at(key: &str, message: impl Into<String>) -> Self {
        let path = KeyPath::default();
        Self {
            path: if key.is_empty() { path } else { path.key(key) },
            message: message.into(),
        }
    }

    /// The same problem, seen from the table that holds this one under `path`.
    pub(crate) fn under(self, path: KeyPath) -> Self {
        Self {
            path: path.join(&self.path),
            message: self.message,
        }
    }

    /// The same problem, seen from the table that holds this one as `key`.
    pub(crate) fn below(self, key: &str) -> Self {
        self.under(KeyPath::default().key(key))
    }
}

/// Returns the [`Problem`] with `key` unless the condition holds; the message is formatted.
macro_rules! ensure {
    ($condition:expr, $key:expr, $($message:tt)+) => {{
        let holds: bool = $condition;
        if !holds {
            return Err($crate::error::Problem::at($key, format!($($message)+)));
        }
    }};
}
pub(crate) use ensure;
