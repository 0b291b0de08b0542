//! One stream of tokens: nothing moves, every row but a group's last is full.

use proptest::prelude::*;
use smollm3_packing::{Packing, Settings, pack};

fn settings(row: u32, group: Option<usize>) -> Settings {
    Settings {
        group,
        ..Settings::new(row, Packing::Wrapped)
    }
}

proptest! {
    #[test]
    fn rows_are_full_but_the_last_of_a_group(
        lengths in prop::collection::vec(0u32..40, 0..100),
        row in 1u32..30,
        group in prop::option::of(1usize..20),
    ) {
        let rows = pack(&lengths, &settings(row, group)).unwrap();
        let filled: Vec<u64> = rows.iter().map(|row| row.iter().map(|f| u64::from(f.length)).sum()).collect();
        let mut expected = Vec::new();
        for group in lengths.chunks(group.unwrap_or(usize::MAX)) {
            let tokens: u64 = group.iter().map(|&length| u64::from(length)).sum();
            let row = u64::from(row);
            expected.extend((0..tokens.div_ceil(row)).map(|i| row.min(tokens - i * row)));
        }
        prop_assert_eq!(filled, expected);
    }

    #[test]
    fn tokens_keep_their_order(lengths in prop::collection::vec(0u32..40, 0..100), row in 1u32..30) {
        let rows = pack(&lengths, &settings(row, None)).unwrap();
        let tokens = |(document, start, length): (u32, u32, u32)| {
            (start..start + length).map(move |token| (document, token))
        };
        let packed = rows.fragments().iter().flat_map(|f| tokens((f.document, f.start, f.length)));
        let given = (0..).zip(&lengths).flat_map(|(document, &length)| tokens((document, 0, length)));
        prop_assert!(packed.eq(given));
    }
}

#[test]
fn a_document_that_fills_a_row_to_the_end_is_not_split() {
    let ledger = *pack(&[4, 2, 2, 3, 2], &settings(4, None)).unwrap().ledger();
    assert_eq!((ledger.rows, ledger.split_documents), (4, 1));
}
