//! Document boundaries.

use proptest::prelude::*;
use smollm3_kernels::{Documents, DocumentsError};

#[test]
fn positions_restart_at_each_document() {
    let documents = Documents::new(vec![vec![0, 3, 4], vec![0]], 6).unwrap();
    assert_eq!(documents.positions(), [0, 1, 2, 0, 0, 1, 0, 1, 2, 3, 4, 5]);
    assert_eq!(documents.document_ids(), [0, 0, 0, 1, 2, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(documents.spans(0).collect::<Vec<_>>(), [(0, 3), (3, 1), (4, 2)]);
    assert!(!documents.is_whole_rows());
    assert_eq!(
        Documents::whole_rows(2, 6),
        Documents::new(vec![vec![0], vec![0]], 6).unwrap()
    );
}

#[test]
fn impossible_starts_are_refused() {
    let order = |start, previous| {
        Err(DocumentsError::Order {
            row: 0,
            start,
            previous,
            seq: 6,
        })
    };
    assert_eq!(Documents::new(vec![vec![0, 3, 3]], 6), order(3, 3));
    assert_eq!(Documents::new(vec![vec![0, 4, 2]], 6), order(2, 4));
    assert_eq!(Documents::new(vec![vec![0, 6]], 6), order(6, 0));
    let first = |row, start| Err(DocumentsError::FirstStart { row, start });
    assert_eq!(Documents::new(vec![vec![0], vec![1]], 6), first(1, Some(1)));
    assert_eq!(Documents::new(vec![vec![]], 6), first(0, None));
}

proptest! {
    #[test]
    fn spans_cover_the_row(lengths in prop::collection::vec(1usize..9, 1..9)) {
        let mut starts = vec![0];
        for length in &lengths[..lengths.len() - 1] {
            starts.push(starts.last().unwrap() + length);
        }
        let seq = lengths.iter().sum();
        let documents = Documents::new(vec![starts], seq).unwrap();
        prop_assert_eq!(documents.spans(0).map(|(_, length)| length).collect::<Vec<_>>(), lengths.clone());
        let positions: Vec<u32> = lengths.iter().flat_map(|length| 0..*length as u32).collect();
        prop_assert_eq!(documents.positions(), positions);
    }
}
