use smollm3_corpus::bench;
use smollm3_corpus::text::Arithmetic;

use crate::fixtures::tokenizer;

#[test]
fn both_sides_make_the_same_tokens_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<String> = (0..50).map(|index| Arithmetic::new(1, 0).text(index)).collect();
    let measured = bench::tokenize(&texts, &tokenizer(), 2, folder.path()).unwrap();
    assert_eq!((measured.documents, measured.rounds), (50, 2));
    assert_eq!(
        measured.text_bytes,
        texts.iter().map(|text| text.len() as u64).sum::<u64>()
    );
    assert!(measured.tokens > 50 && measured.ratio > 0.0 && measured.ratio.is_finite());
    assert!(measured.encode > 0.0 && measured.write > 0.0 && measured.slow_alone > 0.0);
    let kinds: Vec<&str> = measured.files.iter().map(|file| file.kind).collect();
    assert_eq!(kinds, [".jsonl", ".jsonl.zst", ".parquet (zstd)"]);
    assert!(
        measured
            .files
            .iter()
            .all(|file| file.whole > 0.0 && file.read > 0.0 && file.parse > 0.0)
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(bench::tokenize(&[], &tokenizer(), 1, folder.path()).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
