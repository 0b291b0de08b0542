//! Every element has one owner, at any world size, and is found again at any other.

use proptest::prelude::*;
use smollm3_collective::{Layout, LayoutError, Shards};

#[test]
fn shards_by_hand() {
    assert_eq!(Shards::new(10, 4, 1).counts(), [3, 3, 3, 1]);
    assert_eq!(Shards::new(10, 4, 4).counts(), [4, 4, 2, 0]);
    assert_eq!(Shards::new(2, 4, 1).counts(), [1, 1, 0, 0]);
    assert_eq!(Shards::new(0, 3, 8).counts(), [0, 0, 0]);
    assert_eq!(Shards::new(5, 0, 0).counts(), [5]);
    assert_eq!(Shards::new(10, 4, 1).range(4), 0..0);
    assert_eq!(Shards::from_counts(&[usize::MAX, 2]).total(), usize::MAX);
}

#[test]
fn pieces_by_hand() {
    let layout = Layout::new([("a".into(), 5), ("none".into(), 0), ("b".into(), 5)]).unwrap();
    let pieces = |range| -> Vec<(String, _, usize)> {
        let pieces = layout.pieces(&range);
        pieces
            .into_iter()
            .map(|piece| (piece.name.to_owned(), piece.elements, piece.at))
            .collect()
    };
    assert_eq!(pieces(3..7), [("a".into(), 3..5, 0), ("b".into(), 0..2, 2)]);
    assert_eq!(pieces(5..10), [("b".into(), 0..5, 0)]);
    assert_eq!(pieces(4..4), []);
    assert_eq!(layout.total(), 10);
}

#[test]
fn names_come_once() {
    let twice = Layout::new([("a".into(), 1), ("a".into(), 2)]).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "two parameters are called \"a\"; names must be unique"
    );
    let many = Layout::new([("a".into(), usize::MAX), ("b".into(), 1)]).unwrap_err();
    assert_eq!(many, LayoutError::TooMany { name: "b".into() });
}

proptest! {
    #[test]
    fn shards_are_a_partition_of_one_length(total in 0usize..5000, world in 1usize..40, alignment in 1usize..70) {
        let shards = Shards::new(total, world, alignment);
        prop_assert_eq!((shards.world(), shards.total()), (world, total));
        let mut end = 0;
        for range in shards.ranges() {
            prop_assert_eq!(range.start, end);
            prop_assert!(range.start == total || range.start % alignment == 0);
            end = range.end;
        }
        prop_assert_eq!(end, total);
        let counts = shards.counts();
        let longest = shards.longest();
        prop_assert_eq!(longest, *counts.iter().max().unwrap());
        prop_assert!(longest < total.div_ceil(world) + alignment);
        // Nothing is cut short but by the end.
        for range in shards.ranges() {
            prop_assert!(range.len() == longest || range.end == total);
        }
        prop_assert_eq!(Shards::from_counts(&counts), shards);
    }

    #[test]
    fn pieces_put_together_are_the_parameters(
        lengths in prop::collection::vec(0usize..200, 0..20),
        world in 1usize..12,
        alignment in 1usize..16,
    ) {
        let named = lengths.iter().enumerate().map(|(index, &length)| (format!("p{index}"), length));
        let layout = Layout::new(named).unwrap();
        let shards = Shards::new(layout.total(), world, alignment);
        let mut owners: Vec<Vec<usize>> = lengths.iter().map(|&length| vec![0; length]).collect();
        for range in shards.ranges() {
            let mut filled = 0;
            for piece in layout.pieces(&range) {
                prop_assert_eq!(piece.at, filled);
                filled += piece.elements.len();
                let index: usize = piece.name[1..].parse().unwrap();
                owners[index][piece.elements].iter_mut().for_each(|count| *count += 1);
            }
            prop_assert_eq!(filled, range.len());
        }
        prop_assert!(owners.iter().flatten().all(|&count| count == 1));
    }
}
