//! What can be chosen of a packing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest row, in tokens. Best fit keeps eight bytes for each space a row can have left.
pub const MAX_ROW: u32 = 1 << 24;

/// How documents share rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// Best fit decreasing: every document stays in one piece (TRL's `bfd`).
    Bfd,
    /// Best fit decreasing; what is longer than a row is first cut into pieces of one row (TRL's
    /// `bfd_split`).
    BfdSplit,
    /// All documents one after another, cut at every row (TRL's `wrapped`).
    Wrapped,
    /// Every document in a row of its own.
    None,
}

/// What becomes of a document longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// What becomes of a document longer than a row when nothing is said.
    pub fn usual_too_long(self) -> TooLong {
        match self {
            Self::Bfd | Self::None => TooLong::Truncate,
            Self::BfdSplit | Self::Wrapped => TooLong::Split,
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bfd => "bfd",
            Self::BfdSplit => "bfd-split",
            Self::Wrapped => "wrapped",
            Self::None => "none",
        })
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncate => "truncate",
            Self::Split => "split",
            Self::Drop => "drop",
            Self::Error => "error",
        })
    }
}
