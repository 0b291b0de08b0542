//! The settings of a packing, and their contradictions.
//!
//! | `packing` | `too_long`, usual first | order of rows and fragments |
//! | --- | --- | --- |
//! | `bfd` | `truncate`, `drop`, `error` | best fit, longest first |
//! | `bfd-split` | `split` | best fit over the pieces, longest first |
//! | `wrapped` | `split` | as given |
//! | `none` | `truncate`, `split`, `drop`, `error` | as given, one fragment a row |
//!
//! A contradiction is an error, never ignored: `wrapped` cuts at every row end, so no document is too long for it, and
//! whoever combined it with `drop` meant something else.

use serde::Serialize;

use crate::choices::{MAX_ROW, Packing, TooLong};
use crate::error::{PackError, Result};

/// How to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Capacity of a row in tokens, from 1 to [`MAX_ROW`].
    pub row: u32,
    /// How documents share rows.
    pub packing: Packing,
    /// What becomes of a document longer than a row.
    pub too_long: TooLong,
    /// Pack groups of this many consecutive documents separately; `None`: all together. TRL packs by 1000, the default batch
    /// of its `map`; larger groups fill rows better.
    pub group: Option<usize>,
}

impl Settings {
    /// Rows of `row` tokens, with the usual treatment of long documents and in one group.
    pub fn new(row: u32, packing: Packing) -> Self {
        Self {
            row,
            packing,
            too_long: packing.usual_too_long(),
            group: None,
        }
    }

    /// Refuses contradictory settings; [`pack`](crate::pack()) calls this first.
    pub fn check(&self) -> Result<()> {
        let Self {
            row,
            packing,
            too_long,
            group,
        } = *self;
        if !(1..=MAX_ROW).contains(&row) {
            return Err(PackError::Row { row });
        }
        match (packing, too_long, group) {
            (Packing::Bfd, TooLong::Split, _) => Err(PackError::KeepsWhole),
            (Packing::BfdSplit | Packing::Wrapped, TooLong::Truncate | TooLong::Drop | TooLong::Error, _) => {
                Err(PackError::AlwaysSplits { packing, too_long })
            }
            (_, _, Some(0)) => Err(PackError::EmptyGroup),
            (Packing::None, _, Some(group)) => Err(PackError::GroupOfNone { group }),
            _ => Ok(()),
        }
    }
}
