use std::fs;
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, LargeStringArray, RecordBatch, StringViewArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use proptest::prelude::*;
use smollm3_corpus::read::{self, Position, RowProblem};

use super::{error, rows, texts};
use crate::rows::{BYTES, STRING, parquet, present};

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("row {i} {}", "x".repeat(i % 97))).collect()
}

#[test]
fn row_groups_come_in_order_and_can_be_entered_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let expected = numbered(0..1_000);
    let groups: Vec<_> = [0..300, 300..301, 301..301, 301..900, 900..1_000]
        .map(|range| present(&expected[range]))
        .into_iter()
        .collect();
    parquet(&path, STRING, Compression::ZSTD(Default::default()), &groups);
    assert_eq!(texts(&path, Position::default()), expected);
    for row in [1, 299, 300, 301, 302, 899, 900, 999, 1_000] {
        let from = Position { rows: row, bytes: 0 };
        assert_eq!(texts(&path, from), expected[row as usize..], "from {row}");
    }
}

#[test]
fn every_compression_of_the_format_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let expected = numbered(0..100);
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ] {
        parquet(&path, STRING, compression, &[present(&expected)]);
        assert_eq!(texts(&path, Position::default()), expected, "{compression}");
    }
}

#[test]
fn every_arrow_type_of_text_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let expected = ["a", "b", "a", "ü"];
    let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
    expected.iter().for_each(|text| dictionary.append_value(text));
    let columns: [ArrayRef; 3] = [
        Arc::new(LargeStringArray::from(expected.to_vec())),
        Arc::new(StringViewArray::from(expected.to_vec())),
        Arc::new(dictionary.finish()),
    ];
    for column in columns {
        let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
        let mut writer =
            ArrowWriter::try_new(fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert_eq!(texts(&path, Position::default()), expected);
    }
}

#[test]
fn one_broken_row_costs_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let group = vec![
        Some(b"one".to_vec()),
        Some(b"t\xffo".to_vec()),
        None,
        Some(b"four".to_vec()),
    ];
    for declared in [STRING, BYTES] {
        parquet(&path, declared, Compression::SNAPPY, std::slice::from_ref(&group));
        let found: Vec<_> = rows(&path, Position::default())
            .into_iter()
            .map(|(text, _)| text)
            .collect();
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            found,
            [
                text("one"),
                Err(RowProblem::NotUtf8),
                Err(RowProblem::Null),
                text("four")
            ]
        );
    }
}

#[test]
fn a_missing_column_or_one_of_another_type_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let name = path.to_str().unwrap();
    parquet(&path, STRING, Compression::SNAPPY, &[present(&numbered(0..3))]);
    let open = |column| {
        read::open(&path, name, column, Position::default())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let missing = open("content");
    assert!(
        missing.contains("no column `content`; its columns are `id`, `text`, `url`"),
        "{missing}"
    );
    let number = open("id");
    assert!(number.contains("its column `id` is Int64, not text"), "{number}");

    parquet_list(&path);
    let list = open("text");
    assert!(
        list.contains("its column `text` is a list or a group, not text"),
        "{list}"
    );
}

fn parquet_list(path: &std::path::Path) {
    let mut list = arrow_array::builder::ListBuilder::new(arrow_array::builder::StringBuilder::new());
    list.append_value([Some("a"), Some("b")]);
    let batch = RecordBatch::try_from_iter([("text", Arc::new(list.finish()) as ArrayRef)]).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    parquet(
        &path,
        STRING,
        Compression::ZSTD(Default::default()),
        &[present(&numbered(0..2_000))],
    );
    let whole = fs::read(&path).unwrap();
    for length in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let message = error(&path);
        assert!(
            message.contains("a.parquet") && message.contains("not a readable Parquet file"),
            "{message}"
        );
    }
    let mut hurt = whole.clone();
    let middle = whole.len() / 3;
    hurt[middle..middle + 64].fill(0x5a);
    fs::write(&path, hurt).unwrap();
    let message = error(&path);
    assert!(
        message.contains("a.parquet") && message.contains("row group 0"),
        "{message}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Damage anywhere ends in an error or in rows, never in a panic of ours or in silence.
    #[test]
    fn flipped_bytes_never_lose_rows_silently(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        parquet(&path, STRING, Compression::SNAPPY, &[present(&numbered(0..50)), present(&numbered(50..90))]);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&path, bytes).unwrap();
        if let Ok(batches) = read::open(&path, "a.parquet", "text", Position::default()) {
            let mut rows = 0;
            let mut failed = false;
            for batch in batches {
                match batch {
                    Ok(batch) => {
                        rows += batch.len();
                        (0..batch.len()).for_each(|row| drop(batch.text(row)));
                    }
                    Err(_) => failed = true,
                }
            }
            // A flip in the footer may change what the file says of itself, and nothing can tell.
            let footer_claims_less = rows < 90 && !failed && at > 100;
            prop_assert!(failed || rows >= 90 || footer_claims_less);
        }
    }
}
