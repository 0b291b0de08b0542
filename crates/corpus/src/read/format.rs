//! How a file of rows is stored. Its name says whether it holds rows, its first bytes how: names lie
//! (`wget` unpacks a `.gz` and keeps the name), magic numbers do not.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::json::without_mark;
use crate::error::{CorpusError, Result};

/// How the rows of a file are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowFormat {
    /// Apache Parquet.
    Parquet,
    /// JSON, one object a line or one list of objects.
    Json(Compression),
}

/// How a file of JSON is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

/// Names a corpus file may end in, for messages.
pub const ROW_FILE_NAMES: &str =
    ".parquet, .jsonl, .ndjson or .json, the last three also with .gz, .zst, .bz2 or .xz";

/// Endings of compressed files. Those that are not read count too: a file must not be passed over in
/// silence because of how it is compressed.
const PACKED: [&str; 13] = [
    ".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lzma", ".lz4", ".br", ".sz", ".snappy", ".zip", ".7z",
];

/// Whether a file of this name holds rows.
pub fn is_row_file(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let (stem, _) = split(&name);
    [".parquet", ".jsonl", ".ndjson", ".json"]
        .iter()
        .any(|ending| stem.ends_with(ending))
}

/// A name without the ending of a compressed file, and that ending.
fn split(name: &str) -> (&str, Option<&'static str>) {
    let found = PACKED
        .iter()
        .find_map(|ending| Some((name.strip_suffix(ending)?, *ending)));
    match found {
        Some((stem, ending)) => (stem, Some(ending)),
        None => (name, None),
    }
}

/// What files begin with that are read.
const MAGIC: [(&[u8], RowFormat); 6] = [
    (b"PAR1", RowFormat::Parquet),
    (b"\x1f\x8b", RowFormat::Json(Compression::Gzip)),
    (b"\x28\xb5\x2f\xfd", RowFormat::Json(Compression::Zstd)),
    (b"BZh", RowFormat::Json(Compression::Bzip2)),
    (b"\xfd7zXZ\0", RowFormat::Json(Compression::Xz)),
    // An encrypted footer, on which the Parquet reader has its own words.
    (b"PARE", RowFormat::Parquet),
];

/// What files begin with that are not read, and the remedy.
const REFUSED: [(&[u8], &str); 9] = [
    (b"PK\x03\x04", "it is a zip archive; unpack it (`unzip`)"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it (`7z x`)"),
    (
        b"\x04\x22\x4d\x18",
        "it is compressed with lz4; unpack it (`lz4 -d`)",
    ),
    (
        b"\x02\x21\x4c\x18",
        "it is compressed with lz4; unpack it (`lz4 -d`)",
    ),
    (
        b"\xff\x06\0\0sNaPpY",
        "it is compressed with Snappy; unpack it (`snzip -d`)",
    ),
    (
        b"ARROW1",
        "it is an Arrow file; write it as Parquet (`pyarrow.parquet.write_table`)",
    ),
    (b"Obj\x01", "it is an Avro file; write it as Parquet"),
    (b"ORC", "it is an ORC file; write it as Parquet"),
    (
        b"version https://git-lfs.github.com/",
        "it is a pointer of Git LFS, not the data; fetch them (`git lfs pull`)",
    ),
];

/// The format of the file at `path`. `name` stands in messages: a cached copy has another path.
///
/// # Errors
/// A file that cannot be opened, or whose name or first bytes are those of another kind of file, with the
/// remedy.
pub(super) fn detect(path: &Path, name: &str) -> Result<RowFormat> {
    let refuse = |problem: &str| Err(CorpusError::source(name, problem));
    if !is_row_file(name) {
        let problem = format!("its name does not tell the format; it must end in {ROW_FILE_NAMES}");
        return refuse(&problem);
    }
    let mut head = Vec::with_capacity(64);
    let file = File::open(path).map_err(CorpusError::io("open", path))?;
    file.take(64)
        .read_to_end(&mut head)
        .map_err(CorpusError::io("read", path))?;

    if let Some((_, remedy)) = REFUSED.iter().find(|(magic, _)| head.starts_with(magic)) {
        return refuse(remedy);
    }
    let lower = name.to_ascii_lowercase();
    let (stem, packed) = split(&lower);
    if packed == Some(".br") {
        // Brotli has no magic number.
        return refuse("it is compressed with Brotli; unpack it (`brotli -d`)");
    }
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
    let known = known.map(|(_, format)| *format).or_else(|| {
        // Skippable frames, which some tools write first.
        let skippable = matches!(head.as_slice(), [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        skippable.then_some(RowFormat::Json(Compression::Zstd))
    });
    match known {
        Some(RowFormat::Json(_)) if stem.ends_with(".parquet") => {
            refuse("it is a compressed file, not Parquet; unpack it")
        }
        Some(format) => Ok(format),
        None if stem.ends_with(".parquet") => Ok(RowFormat::Parquet),
        // Unless somebody unpacked it and kept the name.
        None if packed.is_some() && !is_json(&head) => {
            let ending = packed.unwrap_or_default();
            refuse(&format!(
                "its name ends in {ending}, but it is not such a file; it may be damaged"
            ))
        }
        None => Ok(RowFormat::Json(Compression::Plain)),
    }
}

/// Whether a file begins as one of JSON does; an empty one has no rows.
fn is_json(head: &[u8]) -> bool {
    let text = without_mark(head).trim_ascii_start();
    matches!(text.first(), None | Some(b'{' | b'['))
}
