use std::fs;
use std::path::PathBuf;

use smollm3_corpus::read::Position;

use super::{error, texts, values};
use crate::rows::{bzip2, gzip, xz, zstd};

/// A file that a standard tool compressed.
fn packed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/corpus/packed")
        .join(name)
}

#[test]
fn every_tool_and_setting_is_read() {
    let plain = packed("rows.jsonl");
    for name in [
        "members.jsonl.gz",
        "frames.jsonl.zst",
        "long.jsonl.zst",
        "streams.jsonl.bz2",
        "streams.jsonl.xz",
        "gzip-by-another-name.jsonl",
        "plain-by-another-name.jsonl.gz",
    ] {
        let path = packed(name);
        assert_eq!(values(&path).unwrap(), values(&plain).unwrap(), "{name}");
        let found = texts(&path, Position::default());
        assert_eq!(
            found,
            (0..6).map(|row| format!("row {row} é")).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let lines = b"{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    for (name, whole) in [
        ("a.jsonl.gz", gzip(&[])),
        ("a.jsonl.zst", zstd(&[])),
        ("a.jsonl.bz2", bzip2(&[])),
        ("a.jsonl.xz", xz(&[])),
    ] {
        // Both halves of nothing are one empty member each: the first boundary is known.
        let boundary = whole.len() / 2;
        let path = folder.path().join(name);
        for length in (1..whole.len()).filter(|length| *length != boundary) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(!error(&path).is_empty(), "{length} bytes of {name}");
        }
    }
    for (name, whole) in [
        ("a.jsonl.gz", gzip(lines)),
        ("a.jsonl.zst", zstd(lines)),
        ("a.jsonl.bz2", bzip2(lines)),
        ("a.jsonl.xz", xz(lines)),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, &whole).unwrap();
        assert_eq!(texts(&path, Position::default()), ["one", "two"]);
        let complete = (1..whole.len()).filter(|length| {
            fs::write(&path, &whole[..*length]).unwrap();
            error(&path).is_empty()
        });
        // Only where the first of two members ends, of which nothing tells that another followed.
        assert!(complete.count() <= 1, "{name}");
    }
}

#[test]
fn what_is_not_read_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, remedy) in [
        (
            "a.jsonl.lz4",
            fs::read(packed("rows.jsonl.lz4")).unwrap(),
            "`lz4 -d`",
        ),
        (
            "a.jsonl.br",
            b"\x8b\x03\x80{\"a\": 1}\n\x03".to_vec(),
            "`brotli -d`",
        ),
        ("a.jsonl.zip", b"PK\x03\x04\x14\0".to_vec(), "`unzip`"),
        ("a.jsonl", b"PK\x03\x04\x14\0".to_vec(), "`unzip`"),
        ("a.parquet.gz", gzip(b"PAR1"), "unpack it"),
        ("a.parquet", gzip(b"PAR1"), "unpack it"),
        ("a.json", b"ARROW1\0\0".to_vec(), "Parquet"),
        (
            "b.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4\nsize 1\n".to_vec(),
            "`git lfs pull`",
        ),
        (
            "c.jsonl",
            b"\xff\xfe{\0\"\0a\0\"\0:\x001\0}\0\n\0".to_vec(),
            "`iconv -f UTF-16 -t UTF-8`",
        ),
        ("d.jsonl", b"\0{\0\"\0a\0\"\0:\x001\0}\0\n".to_vec(), "UTF-16"),
        ("e.jsonl.gz", gzip(b"\xff\xfe\0\0{\0\0\0"), "UTF-32"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = error(&path);
        assert!(message.contains(remedy) && message.contains(name), "{message}");
        assert_eq!(values(&path).unwrap_err(), message);
    }
}
