//! Best fit decreasing: whole pieces, the longest first, each into the fullest row that has room for it.
//!
//! Ties: pieces of equal length keep their order; of rows with equal space the one that reached it first is used. A piece
//! that fits no row opens a new one; rows are in the order of opening. These are the rules of TRL's `bfd`, fragment by
//! fragment, after "Fewer Truncations Improve Language Modeling" (Ding et al. 2024). First fit decreasing would need a
//! search by index and space at once.
//!
//! Cost: `n log n` for the sort, nearly constant per piece for the search (see `open_rows`), and at most 28 bytes a piece.
//! Sorting keys of length and position in one word needs no stable sort; a counting sort is linear, but its table of one
//! entry per length would have to be cleared for each group.

use crate::open_rows::OpenRows;
use crate::row_plan::{Fragment, RowPlan};

/// Adds `pieces` to `rows`, from a fresh row of `row` tokens on. No piece is empty or longer than that.
pub(crate) fn best_fit(pieces: &[Fragment], row: u32, open: &mut OpenRows, rows: &mut RowPlan) {
    let keys = pieces.iter().zip(0u64..);
    let keys = keys.map(|(piece, index)| u64::from(u32::MAX - piece.length) << 32 | index);
    let mut order: Vec<u64> = keys.collect();
    order.sort_unstable();

    open.clear();
    let mut row_of = Vec::with_capacity(order.len());
    let mut sizes: Vec<usize> = Vec::new();
    for key in &order {
        let length = u32::MAX - (key >> 32) as u32;
        let (chosen, space) = open.take(length).unwrap_or_else(|| {
            sizes.push(0);
            (open.add(), row)
        });
        sizes[chosen as usize] += 1;
        row_of.push(chosen);
        if space > length {
            open.put(chosen, space - length);
        }
    }
    scatter(pieces, &order, &row_of, sizes, rows);
}

/// Moves each piece to its row. The place of a row's next fragment starts at the row's start and is its end when all are
/// placed.
fn scatter(pieces: &[Fragment], order: &[u64], row_of: &[u32], sizes: Vec<usize>, rows: &mut RowPlan) {
    let begin = rows.fragments.len();
    rows.fragments.resize(begin + pieces.len(), Fragment::default());
    let mut next = sizes;
    let mut end = begin;
    for slot in &mut next {
        end += std::mem::replace(slot, end);
    }
    for (key, &row) in order.iter().zip(row_of) {
        let slot = &mut next[row as usize];
        rows.fragments[*slot] = pieces[*key as u32 as usize];
        *slot += 1;
    }
    rows.row_ends.append(&mut next);
}
