//! Packed rows: every token once, targets as TRL's collator has them, the ledger against the rows.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use smollm3_conversations::{ConversationStore, ConversationWriter};
use smollm3_engine::EpochOrder;
use smollm3_packing::{Packing, Settings};
use smollm3_sft::PackedRows;

type Talk = (Vec<u32>, Vec<bool>);

fn store(folder: &Path, talks: &[Talk]) -> ConversationStore {
    let mut writer = ConversationWriter::create(folder, "test", 100_000).unwrap();
    for (ids, learned) in talks {
        writer.push(ids, learned).unwrap();
    }
    writer.finish().unwrap();
    ConversationStore::open(folder).unwrap()
}

#[test]
fn an_open_store_keeps_its_contents_while_another_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let talks = |first: u32| -> Vec<Talk> {
        let talk = |id| (vec![id, id + 1], vec![false, id % 2 == 0]);
        (first..first + 2000).map(talk).collect()
    };
    let read = |store: &ConversationStore| -> Vec<Talk> {
        let talk = |index| {
            let document = store.conversation(index).unwrap();
            (document.ids, document.learned)
        };
        (0..store.len()).map(talk).collect()
    };
    let before = store(folder.path(), &talks(0));
    let after = store(folder.path(), &talks(5));
    assert_eq!(read(&before), talks(0));
    assert_eq!(read(&after), talks(5));
}

#[test]
fn targets_are_those_of_trl() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/packing/collator.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let list = |value: &Value| -> Vec<i64> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_i64().unwrap())
            .collect()
    };
    // Documents are numbered through: token 5 is the first of the second one.
    let lengths = list(&fixture["lengths"]);
    let mut masks: BTreeMap<u32, bool> = BTreeMap::new();
    for row in fixture["packed_rows"].as_array().unwrap() {
        for (id, mask) in list(&row["input_ids"])
            .into_iter()
            .zip(list(&row["assistant_masks"]))
        {
            masks.insert(id as u32, mask == 1);
        }
    }
    let mut next = 0;
    let talks: Vec<Talk> = lengths
        .iter()
        .map(|length| {
            let ids: Vec<u32> = (next..next + *length as u32).collect();
            next += *length as u32;
            let learned = ids.iter().map(|id| masks[id]).collect();
            (ids, learned)
        })
        .collect();
    let batch = &fixture["padding_free batch of rows 0 and 1, with assistant_masks"];
    let labels: BTreeMap<u32, i64> = list(&batch["input_ids"][0])
        .into_iter()
        .map(|id| id as u32)
        .zip(list(&batch["labels"][0]))
        .collect();

    let folder = tempfile::tempdir().unwrap();
    let rows = PackedRows::new(store(folder.path(), &talks), &Settings::new(8, Packing::Bfd), 1).unwrap();
    assert_eq!(
        rows.len(),
        fixture["packed_rows"].as_array().unwrap().len() as u64
    );
    let mut compared = 0;
    for row in rows
        .rows_of(&EpochOrder::new(rows.len(), 1, "rows", 3).numbers(1))
        .unwrap()
    {
        for at in 0..row.ids.len() {
            let next = row.ids.get(at + 1).filter(|_| !row.starts.contains(&(at + 1)));
            let Some(label) = next.and_then(|next| labels.get(next)) else {
                continue;
            };
            assert_eq!(row.targets[at].map_or(-100, i64::from), *label);
            compared += 1;
        }
    }
    // 16 tokens in two rows of the fixture, of which four begin a document.
    assert_eq!(compared, 16 - 4);
}

fn talks() -> impl Strategy<Value = Vec<Talk>> {
    let talk = prop::collection::vec((0u32..90_000, any::<bool>()), 1..40);
    prop::collection::vec(talk.prop_map(|tokens| tokens.into_iter().unzip()), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_token_is_trained_on_shown_cut_off_or_dropped(
        talks in talks(),
        row in 4u32..50,
        packing in prop::sample::select(vec![Packing::Bfd, Packing::BfdSplit, Packing::Wrapped, Packing::None]),
        seed: u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let rows = PackedRows::new(store(folder.path(), &talks), &Settings::new(row, packing), seed);
        let Ok(rows) = rows else {
            // No row has a target; the first two tokens of a conversation are always in one together, but for a stream.
            let taught = talks.iter().any(|(_, learned)| learned.get(1) == Some(&true));
            prop_assert!(!taught || packing == Packing::Wrapped);
            return Ok(());
        };
        let ledger = *rows.ledger();
        let tokens: usize = talks.iter().map(|(ids, _)| ids.len()).sum();
        prop_assert_eq!(ledger.input, tokens as u64);
        prop_assert_eq!(ledger.input, ledger.trained + ledger.masked + ledger.truncated + ledger.dropped);
        let (mut kept, mut targets) = (0, 0);
        for number in 0..rows.len() {
            let row_found = rows.row(number).unwrap();
            prop_assert!(row_found.ids.len() <= row as usize);
            prop_assert_eq!(row_found.targets.len(), row_found.ids.len());
            prop_assert_eq!(row_found.starts[0], 0);
            for (at, target) in row_found.targets.iter().enumerate() {
                if let Some(target) = target {
                    prop_assert!(!row_found.starts.contains(&(at + 1)), "a target across conversations");
                    prop_assert_eq!(*target, row_found.ids[at + 1]);
                    targets += 1;
                }
            }
            prop_assert!(row_found.targets.iter().any(Option::is_some), "a row without a target");
            kept += row_found.ids.len() as u64;
        }
        prop_assert_eq!(targets, ledger.trained);
        prop_assert_eq!(kept, ledger.trained + ledger.masked);
        if packing == Packing::BfdSplit || packing == Packing::Wrapped {
            prop_assert_eq!(kept + ledger.dropped, ledger.input);
        }
    }

    #[test]
    fn each_time_through_gives_every_row_once_in_another_order(talks in talks(), batch in 1u64..7, seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let rows = PackedRows::new(store(folder.path(), &talks), &Settings::new(16, Packing::Bfd), seed);
        prop_assume!(rows.is_ok());
        let rows = rows.unwrap();
        let order = EpochOrder::new(rows.len(), seed, "rows", batch);
        let steps = (3 * rows.len()).div_ceil(batch);
        let all: Vec<u64> = (1..=steps).flat_map(|step| order.numbers(step)).collect();
        let mut epochs = Vec::new();
        for epoch in all.chunks(rows.len() as usize).take(3) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..rows.len()).collect::<Vec<_>>());
            epochs.push(epoch.to_vec());
        }
        if rows.len() > 8 {
            prop_assert!(epochs[0] != epochs[1] || epochs[1] != epochs[2]);
        }
    }
}

#[test]
fn a_damaged_mask_is_named() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &[(vec![1, 2, 3], vec![false, true, true])]);
    let mask = folder.path().join("conversations.ds.loss");
    std::fs::write(&mask, [1, 1]).unwrap();
    let message = ConversationStore::open(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("conversations.ds.loss") && message.contains("2 bytes for 3 tokens"),
        "{message}"
    );
}
