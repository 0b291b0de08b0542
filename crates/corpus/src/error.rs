//! The crate's error: each variant names what is wrong, where, and what to write instead.
//!
//! One enum rather than one per module: callers only print it, and `?` works across modules.

use std::path::{Path, PathBuf};

use smollm3_files::FilesError;

/// What can go wrong between text and tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),

    /// A token store whose files contradict each other.
    #[error("token file `{}` is damaged: {problem}; tokenise it again", path.display())]
    DamagedStore {
        /// The `.ds` file.
        path: PathBuf,
        /// The contradiction.
        problem: String,
    },

    /// A token store that is intact but cannot be opened as requested.
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
        /// The request.
        what: String,
        /// What the store has.
        available: String,
    },

    /// A tokenizer that cannot be read, trained or used.
    #[error("tokenizer `{name}`: {problem}")]
    Tokenizer {
        /// Its file or name.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },

    /// A source without usable text.
    #[error("source `{name}`: {problem}")]
    Source {
        /// The source's name or address.
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

    /// Interrupted (Ctrl-C) before the end.
    #[error("stopped before the end; run the same command again to go on")]
    Interrupted,
}

/// `Result` with [`CorpusError`].
pub type Result<T, E = CorpusError> = std::result::Result<T, E>;

impl CorpusError {
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

    pub(crate) fn tokenizer(name: impl Into<String>, problem: impl Into<String>) -> Self {
        CorpusError::Tokenizer {
            name: name.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn argument(name: &'static str, problem: impl Into<String>) -> Self {
        CorpusError::Argument {
            name,
            problem: problem.into(),
        }
    }

    /// An [`CorpusError::OutOfRange`].
    pub(crate) fn beyond(path: &Path, what: impl Into<String>, available: impl Into<String>) -> Self {
        CorpusError::OutOfRange {
            path: path.to_owned(),
            what: what.into(),
            available: available.into(),
        }
    }

    pub(crate) fn source(name: impl Into<String>, problem: impl Into<String>) -> Self {
        CorpusError::Source {
            name: name.into(),
            problem: problem.into(),
        }
    }
}
