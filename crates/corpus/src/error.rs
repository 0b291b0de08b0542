//! One error type for the crate: every variant says what is wrong, where, and what to write instead.
//!
//! One enum rather than one a module: callers (the mixer, the engine, the command line) only ever
//! print these, and a single type lets `?` work across modules. It costs nothing at run time.

use std::io;
use std::path::{Path, PathBuf};

use smollm3_files::FilesError;

/// What can go wrong between text and tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The operating system refused a file operation (missing file, full disk, no permission).
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A token store whose files do not fit together.
    #[error("token file `{}` is damaged: {problem}; tokenise it again", path.display())]
    DamagedStore {
        /// The `.ds` file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },

    /// A token store that cannot be opened as asked, though nothing in it is broken.
    #[error("cannot open the token store `{}`: {problem}", path.display())]
    Store {
        /// The `.ds` file or the folder.
        path: PathBuf,
        /// What is missing and what to do.
        problem: String,
    },

    /// A token range or window past the end of a store.
    #[error("token store `{}` has no {what}: it has {available}", path.display())]
    OutOfRange {
        /// The store.
        path: PathBuf,
        /// What was asked for.
        what: String,
        /// What there is.
        available: String,
    },

    /// The data are not those an earlier run used.
    #[error(
        "the data in `{}` changed: fingerprint {found}, the run was started with {expected}; \
         restore the old files or start a new run",
        path.display()
    )]
    Changed {
        /// The store.
        path: PathBuf,
        /// The fingerprint on record.
        expected: String,
        /// The fingerprint of the files as they are now.
        found: String,
    },

    /// A tokenizer that cannot be read, trained or used.
    #[error("tokenizer `{name}`: {problem}")]
    Tokenizer {
        /// Its file or name.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },

    /// A source that gives no usable text.
    #[error("source `{name}`: {problem}")]
    Source {
        /// The source's name or place.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },

    /// An argument outside its range.
    #[error("`{name}` {problem}")]
    Argument {
        /// The argument.
        name: &'static str,
        /// What it must be.
        problem: String,
    },

    /// The work was asked to stop (Ctrl-C) before it was done.
    #[error("stopped before the end; run the same command again to go on")]
    Interrupted,
}

/// `Result` with [`CorpusError`].
pub type Result<T, E = CorpusError> = std::result::Result<T, E>;

impl From<FilesError> for CorpusError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Io { action, path, source } => Self::Io { action, path, source },
            FilesError::NoName { .. } => Self::Argument {
                name: "path",
                problem: error.to_string(),
            },
            FilesError::Json { path, source } => Self::store(&path, source.to_string()),
        }
    }
}

impl CorpusError {
    /// An [`CorpusError::Io`] for `action` on `path`, in the form `map_err` wants.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| CorpusError::Io { action, path, source }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        CorpusError::DamagedStore {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn store(path: &Path, problem: impl Into<String>) -> Self {
        CorpusError::Store {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn source(name: impl Into<String>, problem: impl Into<String>) -> Self {
        CorpusError::Source {
            name: name.into(),
            problem: problem.into(),
        }
    }
}
