use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use smollm3_corpus::read::{Position, RowProblem};
use tempfile::TempDir;

use super::{error, rows, texts};
use crate::rows::{bzip2, gzip, json_lines, xz, zstd};

/// The same lines plain and in every compression.
fn every_way(folder: &TempDir, lines: &[u8]) -> [PathBuf; 5] {
    [
        ("a.jsonl", lines.to_vec()),
        ("a.jsonl.gz", gzip(lines)),
        ("a.jsonl.zst", zstd(lines)),
        ("a.jsonl.bz2", bzip2(lines)),
        ("a.jsonl.xz", xz(lines)),
    ]
    .map(|(name, bytes)| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    })
}

#[test]
fn the_text_is_found_among_other_fields_whatever_the_compression() {
    let folder = tempfile::tempdir().unwrap();
    let expected: Vec<String> = vec!["one".into(), "zwei \"ü\"\n\t\\".into(), "".into(), "😀".into()];
    for path in every_way(&folder, &json_lines(&expected)) {
        assert_eq!(texts(&path, Position::default()), expected, "{path:?}");
    }
}

#[test]
fn large_files_come_in_batches_and_can_be_entered_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    // 11 MB: three batches.
    let expected: Vec<String> = (0..11).map(|i| format!("{i}").repeat(1_000_000)).collect();
    for path in every_way(&folder, &json_lines(&expected)) {
        let all = rows(&path, Position::default());
        assert_eq!(all.len(), 11);
        for (row, (_, end)) in all.iter().enumerate() {
            assert_eq!(end.rows, row as u64 + 1);
            assert!(
                texts(&path, *end) == expected[row + 1..],
                "{path:?} after row {row}"
            );
        }
    }
}

#[test]
fn each_kind_of_bad_line_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines: [&[u8]; 12] = [
        b"\xef\xbb\xbf{\"text\": \"after a mark\"}\r",
        b"",
        b"{\"text\": \"cut",
        b"[1, 2]",
        b"{\"other\": 1}",
        b"{\"text\": null}",
        b"{\"text\": 3.5}",
        b"{\"text\": {\"a\": [1]}}",
        b"{\"text\": \"\xff\"}",
        b"{\"text\": \"a\"} {\"text\": \"b\"}",
        b"  {\"a\": 1e400, \"text\": \"first\", \"text\": \"last\"}  ",
        b"{\"text\": \"no newline\"}",
    ];
    fs::write(&path, lines.join(&b'\n')).unwrap();
    let found: Vec<_> = rows(&path, Position::default())
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    let text = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(found.len(), 12);
    assert_eq!(found[0], text("after a mark"));
    assert_eq!(found[1], Ok(None));
    assert!(matches!(&found[2], Err(RowProblem::BrokenJson(message)) if message.contains("at column")));
    assert!(matches!(&found[3], Err(RowProblem::BrokenJson(message)) if message == "it is a list"));
    assert_eq!(found[4], Err(RowProblem::NoColumn));
    assert_eq!(found[5], Err(RowProblem::Null));
    assert_eq!(found[6], Err(RowProblem::NotText("a number")));
    assert_eq!(found[7], Err(RowProblem::NotText("an object")));
    assert_eq!(found[8], Err(RowProblem::NotUtf8));
    assert!(matches!(&found[9], Err(RowProblem::BrokenJson(_))));
    assert_eq!(found[10], text("last"));
    assert_eq!(found[11], text("no newline"));
}

#[test]
fn truncated_archives_are_errors_not_short_files() {
    let folder = tempfile::tempdir().unwrap();
    let lines = json_lines(
        &(0..50_000)
            .map(|i| format!("text number {i}"))
            .collect::<Vec<_>>(),
    );
    for path in &every_way(&folder, &lines)[1..] {
        let packed = fs::read(path).unwrap();
        let name = path.to_str().unwrap();
        for missing in [1, 7, packed.len() / 3] {
            fs::write(path, &packed[..packed.len() - missing]).unwrap();
            let message = error(path);
            assert!(
                message.contains(name) && message.contains("damaged or cut short after line"),
                "{message}"
            );
        }
        fs::write(path, b"this is not an archive at all").unwrap();
        let message = error(path);
        assert!(
            message.contains(name) && message.contains("but it is not such a file"),
            "{message}"
        );
    }
}

#[test]
fn lines_end_as_on_any_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    for (end, last) in [("\n", ""), ("\r\n", "\r\n"), ("\r", ""), ("\r", "\r")] {
        let lines = ["{\"text\": \"a\"}", "", "{\"text\": \"b\"}", "{\"text\": \"c\"}"].join(end) + last;
        fs::write(&path, &lines).unwrap();
        let found = rows(&path, Position::default());
        let texts: Vec<_> = found.iter().map(|(text, _)| text.clone().unwrap()).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts, [text("a"), None, text("b"), text("c")], "{end:?}");
        assert_eq!(found[3].1.bytes, lines.len() as u64);
        for (row, (_, end)) in found.iter().enumerate() {
            assert_eq!(rows(&path, *end).len(), 3 - row);
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_back(texts_in in prop::collection::vec(any::<String>(), 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        for path in every_way(&folder, &json_lines(&texts_in)) {
            prop_assert_eq!(&texts(&path, Position::default()), &texts_in);
        }
    }

    /// Whatever the bytes, reading ends without a panic and every line is accounted for.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        // So that it is a file of lines.
        let bytes = [b"{ ", &bytes[..]].concat();
        fs::write(&path, &bytes).unwrap();
        let lone = bytes.windows(2).filter(|pair| pair[0] == b'\r' && pair[1] != b'\n').count();
        let newlines = bytes.iter().filter(|byte| **byte == b'\n').count() + lone;
        let unended = usize::from(bytes.last().is_some_and(|byte| *byte != b'\n'));
        let found = rows(&path, Position::default());
        prop_assert_eq!(found.len(), newlines + unended);
        prop_assert_eq!(found.last().map_or(0, |(_, end)| end.bytes), bytes.len() as u64);
    }
}
