//! The choices of a packing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest row, in tokens. Best fit keeps eight bytes per possible space left in a row.
pub const MAX_ROW: u32 = 1 << 24;

/// How documents share rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// Best fit decreasing: every document stays in one piece (TRL's `bfd`).
    Bfd,
    /// Best fit decreasing; longer documents are first cut into pieces of one row (TRL's `bfd_split`).
    BfdSplit,
    /// All documents concatenated, cut at every row (TRL's `wrapped`).
    Wrapped,
    /// One document per row.
    None,
}

/// The treatment of documents longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TooLong {
    /// Keep its first row of tokens.
    Truncate,
    /// Cut it into pieces of one row and a remainder.
    Split,
    /// Leave the document out.
    Drop,
    /// Refuse to pack.
    Error,
}

impl Packing {
    /// The default treatment of documents longer than a row.
    pub fn usual_too_long(self) -> TooLong {
        match self {
            Self::Bfd | Self::None => TooLong::Truncate,
            Self::BfdSplit | Self::Wrapped => TooLong::Split,
        }
    }
}

/// As in recipes.
impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// As in recipes.
impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
