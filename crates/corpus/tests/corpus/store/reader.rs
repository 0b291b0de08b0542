use std::fs;

use proptest::prelude::*;
use smollm3_corpus::store::{OpenOptions, TokenWidth};
use smollm3_corpus::{CorpusError, TokenStore};

use super::write;
use crate::fixtures::datatrove;

#[test]
fn reads_what_datatrove_wrote() {
    let store = TokenStore::open(datatrove("wide.ds")).unwrap();
    assert_eq!((store.len_tokens(), store.documents()), (1005, Some(3)));
    assert_eq!(store.files()[0].tokenizer(), Some("meta-llama/Llama-3.2-1B"));
    assert_eq!(store.document(0).unwrap().to_vec(), [128_000, 1, 65_536, 128_001]);
    assert_eq!(store.document(1).unwrap().to_vec(), [128_001]);
    assert_eq!(store.document(2).unwrap().get(998), Some(9));
    assert_eq!(store.document(2).unwrap().get(1000), None);
    assert_eq!(store.windows(99), 10);

    let window = store.window(99, 0).unwrap();
    assert_eq!(window.tokens.len(), 100);
    assert_eq!(
        window.tokens.iter().take(6).collect::<Vec<_>>(),
        [128_000, 1, 65_536, 128_001, 128_001, 7]
    );
    assert_eq!(window.document_starts().unwrap(), [0, 4, 5]);
    assert_eq!(
        store.window(99, 3).unwrap().document_starts().unwrap(),
        [] as [u64; 0]
    );
}

#[test]
fn a_folder_is_one_store_and_windows_stay_in_their_file() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "b.ds",
        100,
        &[vec![10, 11, 12], vec![13, 14, 15, 16]],
    );
    write(folder.path(), "a.ds", 100, &[vec![0, 1, 2, 3, 4], vec![5, 6, 7]]);
    fs::write(folder.path().join(".c.ds.partial"), b"half").unwrap();
    let store = TokenStore::open(folder.path()).unwrap();
    assert_eq!((store.len_tokens(), store.documents()), (15, Some(4)));
    // 8 // 3 + 7 // 3 windows of S + 1 = 3 tokens.
    assert_eq!(store.windows(2), 4);
    let windows: Vec<_> = (0..4)
        .map(|j| store.window(2, j).unwrap().tokens.to_vec())
        .collect();
    assert_eq!(windows, [[0, 1, 2], [3, 4, 5], [10, 11, 12], [13, 14, 15]]);
    assert_eq!(store.window(2, 1).unwrap().document_starts().unwrap(), [2]);
    assert_eq!(store.document(3).unwrap().to_vec(), [13, 14, 15, 16]);
    let error = store.window(2, 4).unwrap_err().to_string();
    assert!(
        error.contains("has no window 4 of 2 + 1 tokens: it has 4 windows"),
        "{error}"
    );
    assert!(matches!(store.document(4), Err(CorpusError::OutOfRange { .. })));
    assert!(store.files()[0].tokens(7..9).is_err());
}

#[test]
fn empty_documents_start_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "a.ds",
        100,
        &[vec![], vec![1, 2], vec![], vec![], vec![3], vec![]],
    );
    let store = TokenStore::open(path).unwrap();
    assert_eq!(store.documents(), Some(6));
    assert_eq!(store.files()[0].document_starts_in(0..3).unwrap(), [0, 2]);
    assert_eq!(store.files()[0].document_starts_in(2..3).unwrap(), [0]);
    assert!(store.document(2).unwrap().is_empty());
}

/// Each change to a good store, and what the error must name.
#[test]
fn damage_is_found_and_named() {
    type Change = fn(&std::path::Path);
    let cases: [(Change, &str); 8] = [
        (
            |path| fs::write(path, [1, 0, 2, 0, 3]).unwrap(),
            "5 bytes are not a multiple of 2",
        ),
        (
            |path| fs::write(path, [1, 0, 2, 0]).unwrap(),
            "it holds 2 tokens, its index ends at 3",
        ),
        (
            |path| fs::write(path.with_extension("ds.index"), [3, 0, 0]).unwrap(),
            "its index has 3 bytes",
        ),
        (
            |path| fs::write(path.with_extension("ds.index"), 4u64.to_le_bytes()).unwrap(),
            "its index ends at 4",
        ),
        (
            |path| fs::write(path.with_extension("ds.metadata"), "gpt2").unwrap(),
            "its metadata begins `gpt2`",
        ),
        (
            |path| fs::write(path.with_extension("ds.metadata"), "gpt2|3\n3\n").unwrap(),
            "`3` bytes per token",
        ),
        (
            |path| fs::write(path.with_extension("ds.metadata"), "gpt2|2\n4\n4 T").unwrap(),
            "its metadata says 4",
        ),
        (
            |path| fs::remove_file(path.with_extension("ds.index")).unwrap(),
            "a.ds.index` is missing",
        ),
    ];
    for (change, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "a.ds", 100, &[vec![1], vec![2, 3]]);
        change(&path);
        let error = TokenStore::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("a.ds"),
            "{expected}: {error}"
        );
        assert!(
            !error.contains("documents ="),
            "no setting makes up for it: {error}"
        );
    }
}

#[test]
fn a_falling_index_is_found_by_verify_and_by_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.ds", 100, &[vec![1; 4], vec![2; 4], vec![3; 4]]);
    let index: Vec<u8> = [8u64, 4, 12].iter().flat_map(|end| end.to_le_bytes()).collect();
    fs::write(folder.path().join("a.ds.index"), index).unwrap();
    let store = TokenStore::open(&path).unwrap();
    let error = store.files()[0].verify().unwrap_err().to_string();
    assert!(error.contains("its index descends at document 1"), "{error}");
    assert!(store.files()[0].document_starts_in(0..12).is_err());
    assert!(store.document(1).is_err());
    assert!(store.fingerprint().is_err());
}

#[test]
fn nothing_to_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let none = TokenStore::open(folder.path()).unwrap_err().to_string();
    assert!(none.contains("holds no `.ds` file"), "{none}");
    assert!(
        TokenStore::open(folder.path().join("absent"))
            .unwrap_err()
            .to_string()
            .contains("absent")
    );
    let path = write(folder.path(), "a.ds", 100, &[]);
    let empty = TokenStore::open(path).unwrap_err().to_string();
    assert!(empty.contains("it holds no token"), "{empty}");
}

#[test]
fn mixed_widths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.ds", 100, &[vec![1]]);
    write(folder.path(), "b.ds", 100_000, &[vec![1]]);
    let error = TokenStore::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("keep one width"), "{error}");
}

#[test]
fn without_metadata_the_index_tells_the_width_and_without_both_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.ds", 100_000, &[vec![70_000, 2], vec![3]]);
    fs::remove_file(folder.path().join("a.ds.metadata")).unwrap();
    let store = TokenStore::open(&path).unwrap();
    assert_eq!(store.window(2, 0).unwrap().tokens.to_vec(), [70_000, 2, 3]);

    fs::remove_file(folder.path().join("a.ds.index")).unwrap();
    let mut unindexed = OpenOptions {
        ignore_index: true,
        ..OpenOptions::default()
    };
    let error = unindexed.open(&path).unwrap_err().to_string();
    assert!(error.contains("token width"), "{error}");
    unindexed.width = Some(TokenWidth::U32);
    let store = unindexed.open(&path).unwrap();
    assert_eq!(store.window(2, 0).unwrap().tokens.to_vec(), [70_000, 2, 3]);
    assert_eq!(store.documents(), None);
    assert!(store.window(2, 0).unwrap().document_starts().is_err());
}

proptest! {
    // Each case syncs files, which is what takes the time.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Starts from the binary search equal those from walking all documents.
    #[test]
    fn document_starts_equal_a_walk(lengths in prop::collection::vec(0usize..6, 1..40), span in 1u64..20) {
        prop_assume!(lengths.iter().sum::<usize>() > 0);
        let folder = tempfile::tempdir().unwrap();
        let documents: Vec<Vec<u32>> = lengths.iter().map(|length| vec![7; *length]).collect();
        let store = TokenStore::open(write(folder.path(), "a.ds", 100, &documents)).unwrap();
        let mut starts = Vec::new();
        let mut position = 0u64;
        for length in &lengths {
            if *length > 0 {
                starts.push(position);
            }
            position += *length as u64;
        }
        for window in 0..store.windows(span - 1) {
            let found = store.window(span - 1, window).unwrap();
            let from = window * span;
            let walked: Vec<u64> =
                starts.iter().filter(|start| (from..from + span).contains(start)).map(|start| start - from).collect();
            prop_assert_eq!(found.document_starts().unwrap(), walked);
        }
    }
}
