//! Windows: tokens, targets, positions and masks, by index and by end-of-text token.

use proptest::prelude::*;
use smollm3_corpus::store::OpenOptions;
use smollm3_corpus::{StoreWriter, TokenStore};
use smollm3_mixer::{Documents, Sequence, WindowError, WindowReader};
use tempfile::TempDir;

const END: u32 = 9;

/// A store of the given documents; each already ends as the caller wants.
fn store(documents: &[Vec<u32>]) -> (TempDir, TokenStore) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::create(folder.path().join("a.ds"), "test", 100_000).unwrap();
    for document in documents {
        writer.push_document(document).unwrap();
    }
    writer.finish().unwrap();
    let store = TokenStore::open(folder.path()).unwrap();
    (folder, store)
}

fn reader(documents: &[Vec<u32>], sequence_length: u64, by: Documents) -> (TempDir, WindowReader) {
    let (folder, store) = store(documents);
    (
        folder,
        WindowReader::new(store, sequence_length, 100, by).unwrap(),
    )
}

/// For each input whether it predicts anything.
fn mask(sequence: &Sequence) -> Vec<bool> {
    sequence.targets().iter().map(Option::is_some).collect()
}

/// The position of each input in its document.
fn positions(sequence: &Sequence) -> Vec<u32> {
    let starts = sequence.document_starts();
    let ends = starts.iter().skip(1).copied().chain([sequence.inputs().len()]);
    starts
        .iter()
        .zip(ends)
        .flat_map(|(start, end)| 0..(end - start) as u32)
        .collect()
}

/// Three documents, 12 tokens; windows of 5 + 1.
fn three() -> Vec<Vec<u32>> {
    vec![vec![1, 2, END], vec![3, 4, END], vec![5, 6, 7, 8, 10, END]]
}

#[test]
fn a_window_is_inputs_targets_starts_positions() {
    for by in [Documents::Index, Documents::EndOfText(END)] {
        let (_folder, reader) = reader(&three(), 5, by);
        assert_eq!(reader.windows(), 2);
        let first = reader.read(0).unwrap();
        assert_eq!(first.inputs(), [1, 2, END, 3, 4]);
        // The end of text is a target, the 3 after it is not.
        assert_eq!(first.targets(), [Some(2), Some(END), None, Some(4), Some(END)]);
        assert_eq!(mask(&first), [true, true, false, true, true]);
        assert_eq!(first.targets().iter().flatten().count(), 4);
        assert_eq!(first.document_starts(), [0, 3]);
        assert_eq!(positions(&first), [0, 1, 2, 0, 1]);
        // The second window starts with a document; that is no boundary inside it.
        let second = reader.read(1).unwrap();
        assert_eq!(second.inputs(), [5, 6, 7, 8, 10]);
        assert_eq!(second.targets(), [6, 7, 8, 10, END].map(Some));
        assert_eq!(second.document_starts(), [0]);
    }
}

#[test]
fn a_document_that_starts_at_the_last_token_only_masks_it() {
    for by in [Documents::Index, Documents::EndOfText(END)] {
        // Windows of 3 + 1: the first is 1 2 END | 3.
        let (_folder, reader) = reader(&three(), 3, by);
        let window = reader.read(0).unwrap();
        assert_eq!(window.tokens(), [1, 2, END, 3]);
        assert_eq!(window.targets(), [Some(2), Some(END), None]);
        assert_eq!(window.document_starts(), [0]);
        assert_eq!(positions(&window), [0, 1, 2]);
        // The second is 4 END | 5 6: the cut document starts anew at 0.
        let window = reader.read(1).unwrap();
        assert_eq!(window.document_starts(), [0, 2]);
        assert_eq!(positions(&window), [0, 1, 0]);
        assert_eq!(window.targets(), [Some(END), None, Some(6)]);
    }
}

#[test]
fn ignored_documents_make_one() {
    let (_folder, reader) = reader(&three(), 5, Documents::Ignored);
    let window = reader.read(0).unwrap();
    assert_eq!(window.document_starts(), [0]);
    assert_eq!(positions(&window), [0, 1, 2, 3, 4]);
    assert_eq!(window.targets(), [2, END, 3, 4, END].map(Some));
}

#[test]
fn the_index_sees_documents_that_the_token_does_not() {
    let documents = [vec![1, 2], vec![3, END, 4], vec![5]];
    let (_folder, by_index) = reader(&documents, 5, Documents::Index);
    assert_eq!(
        by_index.read(0).unwrap().targets(),
        [Some(2), None, Some(END), Some(4), None]
    );
    let (_folder, by_token) = reader(&documents, 5, Documents::EndOfText(END));
    assert_eq!(
        by_token.read(0).unwrap().targets(),
        [Some(2), Some(3), Some(END), None, Some(5)]
    );
}

#[test]
fn empty_documents_start_nothing_twice() {
    let (_folder, reader) = reader(&[vec![1, 2], vec![], vec![], vec![3, 4]], 3, Documents::Index);
    assert_eq!(reader.read(0).unwrap().targets(), [Some(2), None, Some(4)]);
}

#[test]
fn reading_into_forgets_the_window_before() {
    let (_folder, reader) = reader(&three(), 5, Documents::Index);
    let mut sequence = reader.read(0).unwrap();
    reader.read_into(1, &mut sequence).unwrap();
    assert_eq!(sequence, reader.read(1).unwrap());
    assert_eq!(Sequence::default().inputs(), [0u32; 0]);
    assert_eq!(positions(&Sequence::default()), [0u32; 0]);
}

#[test]
fn refusals_name_what_is_wrong() {
    let (_folder, by_index) = reader(&three(), 5, Documents::Index);
    assert!(matches!(by_index.read(2), Err(WindowError::Store(_))));
    assert!(by_index.read(2).unwrap_err().to_string().contains("2 windows"));
    let (_folder, strange) = reader(&[vec![1, 2, 3, 100, 4, END]], 5, Documents::Index);
    let message = strange.read(0).unwrap_err().to_string();
    assert!(
        message.contains("window 0") && message.contains("token 100, but the model has 100"),
        "{message}"
    );
    for length in [0, (1 << 31) + 1, u64::MAX] {
        let (_folder, store) = store(&three());
        let refused = WindowReader::new(store, length, 100, Documents::Index);
        assert!(matches!(refused, Err(WindowError::Length { sequence_length }) if sequence_length == length));
    }
    let (folder, _) = store(&three());
    let unindexed = OpenOptions {
        ignore_index: true,
        ..OpenOptions::default()
    };
    let bare = unindexed.open(folder.path()).unwrap();
    let bare = WindowReader::new(bare, 5, 100, Documents::Index).unwrap();
    assert!(matches!(bare.read(0), Err(WindowError::Store(_))));
}

/// Positions and mask by the original's rule, token by token.
fn original(tokens: &[u32]) -> (Vec<u32>, Vec<bool>) {
    let mut positions = vec![0u32];
    for pair in tokens.windows(2) {
        let next = if pair[0] == END {
            0
        } else {
            positions.last().map_or(0, |position| position + 1)
        };
        positions.push(next);
    }
    let mask = positions[1..].iter().map(|&position| position != 0).collect();
    positions.pop();
    (positions, mask)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn windows_tile_the_store_at_any_length(
        documents in prop::collection::vec(prop::collection::vec(0u32..9, 0..40), 1..20),
        sequence_length in 1u64..50,
    ) {
        let documents: Vec<Vec<u32>> =
            documents.into_iter().map(|mut document| { document.push(END); document }).collect();
        let all = documents.concat();
        let (_folder, by_index) = reader(&documents, sequence_length, Documents::Index);
        let again = TokenStore::open(by_index.store().path()).unwrap();
        let by_token = WindowReader::new(again, sequence_length, 100, Documents::EndOfText(END)).unwrap();
        let span = sequence_length as usize + 1;
        prop_assert_eq!(by_index.windows() as usize, all.len() / span);
        for (window, tokens) in all.chunks_exact(span).enumerate() {
            let sequence = by_index.read(window as u64).unwrap();
            prop_assert_eq!(sequence.tokens(), tokens);
            prop_assert_eq!((positions(&sequence), mask(&sequence)), original(tokens));
            prop_assert_eq!(sequence, by_token.read(window as u64).unwrap());
        }
    }
}
