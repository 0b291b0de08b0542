//! How an answer is given.

use serde::{Deserialize, Serialize};

/// How an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The answer itself follows the question.
    Cloze,
    /// The choices are listed, and a letter follows.
    Lettered,
}
