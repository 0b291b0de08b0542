//! The result of packing: rows of fragments.
//!
//! All fragments lie in one array, row after row, with the end of each row. This takes 12 bytes a fragment and 8 a row; a
//! vector per row would take 24 bytes and an allocation.
//!
//! A fragment is a range of one document, and a row never holds two of the same document: positions restart, and attention
//! ends, at each fragment.

use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;

/// The tokens `start..start + length` of a document; at least one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fragment {
    /// Which document, counted from 0 in the order of the lengths given.
    pub document: u32,
    /// First token taken of it.
    pub start: u32,
    /// Tokens taken.
    pub length: u32,
}

/// Documents in rows; made by [`pack`](crate::pack()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlan {
    pub(crate) fragments: Vec<Fragment>,
    pub(crate) row_ends: Vec<usize>,
    pub(crate) ledger: Ledger,
}

impl RowPlan {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.row_ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.row_ends.is_empty()
    }

    /// The fragments of one row, in order; `None` past the last row.
    pub fn get(&self, row: usize) -> Option<&[Fragment]> {
        let end = *self.row_ends.get(row)?;
        let start = match row.checked_sub(1) {
            Some(before) => *self.row_ends.get(before)?,
            None => 0,
        };
        self.fragments.get(start..end)
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[Fragment]> {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// All fragments, row after row.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// Where each row ends in [`fragments`](Self::fragments).
    pub fn row_ends(&self) -> &[usize] {
        &self.row_ends
    }

    /// Where each token went.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
