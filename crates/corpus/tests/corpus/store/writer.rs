use std::fs;

use proptest::prelude::*;
use smollm3_corpus::tokenizer::SpecialTokens;
use smollm3_corpus::{StoreWriter, TokenStore};

use super::write;
use crate::fixtures::{datatrove, texts, tokenizer};

#[test]
fn the_same_documents_give_datatroves_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    let encoder = tokenizer.documents(SpecialTokens::Parsed);
    let path = folder.path().join("narrow.ds");
    let mut writer =
        StoreWriter::create(&path, tokenizer.name(), tokenizer.info().vocab_size.into()).unwrap();
    for text in texts() {
        writer.push_document(&encoder.encode(&text).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let store = TokenStore::open(&path).unwrap();
    assert_eq!((store.documents(), store.len_tokens()), (Some(5), 118));
    for name in ["narrow.ds", "narrow.ds.index", "narrow.ds.metadata"] {
        let ours = fs::read(folder.path().join(name)).unwrap();
        assert_eq!(ours, fs::read(datatrove(name)).unwrap(), "{name}");
    }
}

#[test]
fn nothing_is_left_unless_finished() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::create(folder.path().join("a.ds"), "test", 100).unwrap();
    writer.push_document(&[1, 2]).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::create(folder.path().join("a.ds"), "test", 65_536).unwrap();
    let error = writer.push_document(&[65_536]).unwrap_err().to_string();
    assert!(error.contains("token 65536 lies past its vocabulary"), "{error}");
    assert!(StoreWriter::create(folder.path().join("a.bin"), "test", 10).is_err());
    assert!(StoreWriter::create(folder.path().join("b.ds"), "two\nlines", 10).is_err());
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(StoreWriter::create(file.join("a.ds"), "test", 10).is_err());
}

proptest! {
    // Each case syncs files, which is what takes the time.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_written_is_read(
        documents in prop::collection::vec(prop::collection::vec(0u32..65_536, 0..50), 1..30),
        wide in any::<bool>(),
    ) {
        prop_assume!(documents.iter().any(|document| !document.is_empty()));
        let folder = tempfile::tempdir().unwrap();
        let vocab_size = if wide { 200_000 } else { 65_536 };
        let store = TokenStore::open(write(folder.path(), "a.ds", vocab_size, &documents)).unwrap();
        prop_assert_eq!(store.documents(), Some(documents.len() as u64));
        for (index, document) in documents.iter().enumerate() {
            let tokens = store.document(index as u64).unwrap();
            prop_assert_eq!(&tokens.to_vec(), document);
            prop_assert_eq!(&tokens.iter().collect::<Vec<_>>(), document);
        }
        let all = store.files()[0].tokens(0..store.len_tokens()).unwrap().to_vec();
        prop_assert_eq!(all, documents.concat());
    }
}
