//! Best fit decreasing against its plain statement: look at every row for every piece.

use proptest::prelude::*;
use smollm3_packing::{Fragment, Packing, RowPlan, Settings, pack};

/// Rows as `(space left, when it got it, fragments)`.
fn naive(mut pieces: Vec<Fragment>, row: u32) -> Vec<Vec<Fragment>> {
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.length));
    let mut rows: Vec<(u32, usize, Vec<Fragment>)> = Vec::new();
    for (now, piece) in pieces.into_iter().enumerate() {
        let fits = rows.iter_mut().filter(|(space, ..)| *space >= piece.length);
        match fits.min_by_key(|(space, since, _)| (*space, *since)) {
            Some((space, since, fragments)) => {
                *space -= piece.length;
                *since = now;
                fragments.push(piece);
            }
            None => rows.push((row - piece.length, now, vec![piece])),
        }
    }
    rows.into_iter().map(|(_, _, fragments)| fragments).collect()
}

fn pieces(lengths: &[u32], row: u32, split: bool) -> Vec<Fragment> {
    let mut pieces = Vec::new();
    for (document, &length) in (0..).zip(lengths) {
        let mut start = 0;
        while start < length {
            let taken = row.min(length - start);
            pieces.push(Fragment {
                document,
                start,
                length: taken,
            });
            start = if split { start + taken } else { length };
        }
    }
    pieces
}

fn vectors(rows: &RowPlan) -> Vec<Vec<Fragment>> {
    rows.iter().map(<[_]>::to_vec).collect()
}

fn check(lengths: &[u32], row: u32) {
    for (packing, split) in [(Packing::Bfd, false), (Packing::BfdSplit, true)] {
        let rows = pack(lengths, &Settings::new(row, packing)).unwrap();
        assert_eq!(
            vectors(&rows),
            naive(pieces(lengths, row, split), row),
            "{packing}"
        );
    }
}

proptest! {
    #[test]
    fn equals_the_plain_statement(lengths in prop::collection::vec(0u32..40, 0..200), row in 1u32..50) {
        check(&lengths, row);
    }

    /// Rows of one to four levels of the set of spaces.
    #[test]
    fn equals_the_plain_statement_in_long_rows(
        lengths in prop::collection::vec((0u32..20, any::<u32>()), 0..120),
        log_row in 5u32..20,
        odd in 0u32..30,
    ) {
        let row = (1 << log_row) + odd;
        let lengths: Vec<u32> = lengths.into_iter().map(|(shift, length)| (length % (3 * row)) >> shift).collect();
        check(&lengths, row);
    }
}

#[test]
fn of_rows_with_equal_space_the_first_to_get_it_is_taken() {
    // Document 2 leaves row 1 with a space of 2 before document 3 leaves row 0 with one.
    let rows = pack(&[70, 60, 38, 28, 2, 2], &Settings::new(100, Packing::Bfd)).unwrap();
    let documents: Vec<Vec<u32>> = rows
        .iter()
        .map(|row| row.iter().map(|fragment| fragment.document).collect())
        .collect();
    assert_eq!(documents, [[0, 3, 5], [1, 2, 4]]);
}
