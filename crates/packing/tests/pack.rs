//! What holds for every packing: tokens land once or are accounted for, rows do not overflow, groups
//! are packed apart.

use proptest::prelude::*;
use smollm3_packing::{Fragment, Packing, RowPlan, Settings, TooLong, pack};

fn any_settings() -> impl Strategy<Value = Settings> {
    let choices = vec![
        (Packing::Bfd, TooLong::Truncate),
        (Packing::Bfd, TooLong::Drop),
        (Packing::BfdSplit, TooLong::Split),
        (Packing::Wrapped, TooLong::Split),
        (Packing::None, TooLong::Truncate),
        (Packing::None, TooLong::Split),
        (Packing::None, TooLong::Drop),
    ];
    (
        1u32..40,
        prop::sample::select(choices),
        prop::option::of(1usize..30),
    )
        .prop_map(|(row, (packing, too_long), group)| Settings {
            row,
            packing,
            too_long,
            group: group.filter(|_| packing != Packing::None),
        })
}

fn lengths() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![3 => 0u32..40, 1 => 0u32..200], 0..150)
}

/// Tokens of each document that are in rows, in order; fails where one is twice.
fn kept(rows: &RowPlan, documents: usize) -> Vec<u32> {
    let mut fragments: Vec<Fragment> = rows.fragments().to_vec();
    fragments.sort_by_key(|fragment| (fragment.document, fragment.start));
    let mut kept = vec![0; documents];
    for fragment in fragments {
        let so_far = &mut kept[fragment.document as usize];
        assert_eq!(
            fragment.start, *so_far,
            "a gap or an overlap in document {}",
            fragment.document
        );
        assert!(fragment.length > 0);
        *so_far += fragment.length;
    }
    kept
}

proptest! {
    #[test]
    fn every_token_lands_once_or_is_accounted_for(lengths in lengths(), settings in any_settings()) {
        let rows = pack(&lengths, &settings).unwrap();
        let kept = kept(&rows, lengths.len());
        let (mut truncated, mut dropped) = ((0, 0), (0, 0));
        for (&length, &kept) in lengths.iter().zip(&kept) {
            let lost = u64::from(length - kept);
            match settings.too_long {
                _ if length <= settings.row => prop_assert_eq!(kept, length),
                TooLong::Split => prop_assert_eq!(kept, length),
                TooLong::Drop => {
                    prop_assert_eq!(kept, 0);
                    dropped = (dropped.0 + 1, dropped.1 + lost);
                }
                TooLong::Truncate => {
                    prop_assert_eq!(kept, settings.row);
                    truncated = (truncated.0 + 1, truncated.1 + lost);
                }
                TooLong::Error => unreachable!(),
            }
        }
        let mut pieces = vec![0; lengths.len()];
        rows.fragments().iter().for_each(|fragment| pieces[fragment.document as usize] += 1);

        let ledger = rows.ledger();
        prop_assert_eq!(ledger.documents, lengths.len() as u64);
        prop_assert_eq!(ledger.empty_documents, lengths.iter().filter(|&&length| length == 0).count() as u64);
        prop_assert_eq!(ledger.split_documents, pieces.iter().filter(|&&pieces| pieces > 1).count() as u64);
        prop_assert_eq!((ledger.truncated_documents, ledger.truncated), truncated);
        prop_assert_eq!((ledger.dropped_documents, ledger.dropped), dropped);
        prop_assert_eq!(ledger.kept, kept.iter().map(|&kept| u64::from(kept)).sum::<u64>());
        prop_assert_eq!(ledger.input, ledger.kept + ledger.truncated + ledger.dropped);
        prop_assert_eq!((ledger.rows, ledger.row), (rows.len() as u64, settings.row));
    }

    #[test]
    fn rows_hold_something_and_no_more_than_fits(lengths in lengths(), settings in any_settings()) {
        let rows = pack(&lengths, &settings).unwrap();
        prop_assert_eq!(rows.iter().count(), rows.len());
        for row in rows.iter() {
            let tokens: u32 = row.iter().map(|fragment| fragment.length).sum();
            prop_assert!((1..=settings.row).contains(&tokens));
            let mut documents: Vec<u32> = row.iter().map(|fragment| fragment.document).collect();
            documents.sort_unstable();
            documents.dedup();
            prop_assert_eq!(documents.len(), row.len(), "two fragments of one document");
        }
        prop_assert_eq!(rows.row_ends().last().copied().unwrap_or(0), rows.fragments().len());
        prop_assert_eq!(rows.get(rows.len()), None);
    }

    #[test]
    fn groups_are_packed_apart(lengths in lengths(), settings in any_settings(), group in 1usize..30) {
        prop_assume!(settings.packing != Packing::None);
        let grouped = pack(&lengths, &Settings { group: Some(group), ..settings }).unwrap();
        let mut apart = Vec::new();
        for (number, part) in lengths.chunks(group).enumerate() {
            let rows = pack(part, &Settings { group: None, ..settings }).unwrap();
            let moved = |f: &Fragment| Fragment { document: f.document + (number * group) as u32, ..*f };
            apart.extend(rows.iter().map(|row| row.iter().map(moved).collect::<Vec<_>>()));
        }
        prop_assert!(grouped.iter().eq(apart.iter().map(Vec::as_slice)));
    }

    #[test]
    fn without_packing_every_row_is_one_fragment_in_order(lengths in lengths(), row in 1u32..40) {
        let rows = pack(&lengths, &Settings::new(row, Packing::None)).unwrap();
        prop_assert!(rows.iter().all(|row| row.len() == 1));
        prop_assert!(rows.fragments().is_sorted_by_key(|fragment| fragment.document));
    }
}

#[test]
fn nothing_gives_nothing() {
    for packing in [Packing::Bfd, Packing::BfdSplit, Packing::Wrapped, Packing::None] {
        for lengths in [&[][..], &[0, 0]] {
            let rows = pack(lengths, &Settings::new(8, packing)).unwrap();
            assert!(rows.is_empty() && rows.fragments().is_empty());
            assert_eq!(rows.ledger().empty_documents, lengths.len() as u64);
            assert_eq!(rows.ledger().fill(), 0.0);
        }
    }
}
