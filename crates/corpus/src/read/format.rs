//! The format of a file of rows. Its name says whether it holds rows, its first bytes how: names lie (`wget` unpacks a `.gz`
//! and keeps the name), magic numbers do not.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use smollm3_files::io;

use super::json::without_mark;
use crate::error::{CorpusError, Result};

/// The format of a file of rows.
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

/// The supported file extensions, for messages.
pub const ROW_FILE_NAMES: &str =
    ".parquet, .jsonl, .ndjson or .json, the last three also with .gz, .zst, .bz2 or .xz";

/// Extensions of compressed files. Unsupported ones are included, so that such files are refused rather than silently
/// skipped.
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

/// Files with which the library `datasets` describes the data in a folder.
const DESCRIPTIONS: [&str; 4] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
];

/// Whether a file in a folder of rows is one of them: it holds rows, and does not describe them.
pub fn is_listed(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    is_row_file(path) && !DESCRIPTIONS.contains(&name)
}

/// Splits off the extension of a compressed file.
fn split(name: &str) -> (&str, Option<&'static str>) {
    let mut endings = PACKED.iter();
    let found = endings.find_map(|ending| Some((name.strip_suffix(ending)?, Some(*ending))));
    found.unwrap_or((name, None))
}

/// Magic numbers of supported formats.
const MAGIC: [(&[u8], RowFormat); 6] = [
    (b"PAR1", RowFormat::Parquet),
    (b"\x1f\x8b", RowFormat::Json(Compression::Gzip)),
    (b"\x28\xb5\x2f\xfd", RowFormat::Json(Compression::Zstd)),
    (b"BZh", RowFormat::Json(Compression::Bzip2)),
    (b"\xfd7zXZ\0", RowFormat::Json(Compression::Xz)),
    // An encrypted footer, which the Parquet reader refuses in its own words.
    (b"PARE", RowFormat::Parquet),
];

const LZ4: &str = "it is compressed with lz4; unpack it (`lz4 -d`)";

/// Magic numbers of formats that are not supported, and the remedy.
const REFUSED: [(&[u8], &str); 9] = [
    (b"PK\x03\x04", "it is a zip archive; unpack it (`unzip`)"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it (`7z x`)"),
    (b"\x04\x22\x4d\x18", LZ4),
    (b"\x02\x21\x4c\x18", LZ4),
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

/// The format of the file at `path`. `name` is for messages: a cached copy has another path.
///
/// # Errors
/// The file cannot be opened, or its name or first bytes are those of an unsupported format; the message has the remedy.
pub(super) fn detect(path: &Path, name: &str) -> Result<RowFormat> {
    let refuse = |problem: &str| Err(CorpusError::source(name, problem));
    if !is_row_file(name) {
        return refuse(&format!(
            "its name does not tell the format; it must end in {ROW_FILE_NAMES}"
        ));
    }
    let mut head = Vec::with_capacity(64);
    let file = File::open(path).map_err(io("open", path))?;
    file.take(64).read_to_end(&mut head).map_err(io("read", path))?;
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
        // Skippable frames, with which some tools begin.
        let skippable = matches!(head.as_slice(), [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        skippable.then_some(RowFormat::Json(Compression::Zstd))
    });
    match known {
        Some(RowFormat::Json(_)) if stem.ends_with(".parquet") => {
            refuse("it is a compressed file, not Parquet; unpack it")
        }
        Some(format) => Ok(format),
        None if stem.ends_with(".parquet") => Ok(RowFormat::Parquet),
        // Unless it was unpacked under the same name.
        None if packed.is_some() && !is_json(&head) => {
            let ending = packed.unwrap_or_default();
            refuse(&format!(
                "its name ends in {ending}, but it is not such a file; it may be damaged"
            ))
        }
        None => Ok(RowFormat::Json(Compression::Plain)),
    }
}

/// Whether a file begins like JSON; an empty one has no rows.
fn is_json(head: &[u8]) -> bool {
    let text = without_mark(head).trim_ascii_start();
    matches!(text.first(), None | Some(b'{' | b'['))
}
