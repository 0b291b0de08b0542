//! How to pack, and which choices contradict one another.
//!
//! | `packing` | `too_long`, usual first | order of rows and fragments |
//! | --- | --- | --- |
//! | `bfd` | `truncate`, `drop`, `error` | best fit, longest first |
//! | `bfd-split` | `split` | best fit over the pieces, longest first |
//! | `wrapped` | `split` | as given |
//! | `none` | `truncate`, `split`, `drop`, `error` | as given, one fragment a row |
//!
//! What a packing cannot honour is an error and never ignored: `wrapped` cuts wherever a row ends, so
//! that no document is too long for it, and a person who wrote `drop` beside it meant something else.

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
    /// Pack each so many consecutive documents apart from the others; `None`: all together. TRL packs
    /// by 1000, the default batch of its `map`; larger groups fill rows better.
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

    /// Whether these settings can be honoured; [`pack`](crate::pack()) asks this first.
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
        match (packing, too_long) {
            (Packing::Bfd, TooLong::Split) => Err(PackError::KeepsWhole),
            (Packing::BfdSplit | Packing::Wrapped, TooLong::Truncate | TooLong::Drop | TooLong::Error) => {
                Err(PackError::AlwaysSplits { packing, too_long })
            }
            _ => match group {
                Some(0) => Err(PackError::EmptyGroup),
                Some(group) if packing == Packing::None => Err(PackError::GroupOfNone { group }),
                _ => Ok(()),
            },
        }
    }
}
