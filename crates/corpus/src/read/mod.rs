//! Files of rows: Parquet and JSON lines, plain or compressed, as batches of text or of whole rows.
//!
//! A reader hands out batches of a few megabytes in the order of the file, and nothing more than a few
//! batches exists at any time, whatever the size of the file. What a row means (JSON to parse, UTF-8 to
//! check) is decided by [`Batch::text`], which any thread may call: that work belongs to the many
//! threads that tokenise, not to the one that reads.
//!
//! A row that cannot be used is a [`RowProblem`], to be skipped or not as the caller likes; a file that
//! cannot be read (damaged, no such column) is an error.
//!
//! [`open`] gives the text of one column, for pretraining; [`open_values`] and [`rows_of`] whole rows as
//! JSON, for fine-tuning.

mod arrow_json;
mod json;
mod lines;
mod parquet;
mod row_groups;
mod sample;
mod values;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, BinaryArray};
use serde::{Deserialize, Serialize};

use crate::error::{CorpusError, Result};

pub use sample::sample_rows;
pub use values::{ValueBatch, ValueBatches, count_rows, open_values, rows_of};

use lines::{LineBatch, Lines};

/// Text a batch holds at most, give or take one row.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// How the rows of a file are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    JsonLines(Compression),
}

/// How a file of lines is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, of any number of members.
    Gzip,
    /// Zstandard, of any number of frames.
    Zstd,
}

/// Names a corpus file may end in, for messages.
pub const ROW_FILE_NAMES: &str = ".parquet, .jsonl, .ndjson or .json, the last three also with .gz or .zst";

impl RowFormat {
    /// The format a file name tells, if it tells one.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (stem, compression) = if let Some(stem) = name.strip_suffix(".gz") {
            (stem, Compression::Gzip)
        } else if let Some(stem) = name.strip_suffix(".zst").or_else(|| name.strip_suffix(".zstd")) {
            (stem, Compression::Zstd)
        } else {
            (name.as_str(), Compression::Plain)
        };
        if stem.ends_with(".parquet") && compression == Compression::Plain {
            return Some(RowFormat::Parquet);
        }
        let lines = [".jsonl", ".ndjson", ".json"]
            .iter()
            .any(|ending| stem.ends_with(ending));
        lines.then_some(RowFormat::JsonLines(compression))
    }
}

/// How far a reader is: where the next row begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Rows before it, lines without text included.
    pub rows: u64,
    /// Uncompressed bytes before it, for files of lines; 0 for Parquet.
    pub bytes: u64,
}

/// Why a row gives no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowProblem {
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A line that is not one JSON object; with the parser's words.
    BrokenJson(String),
    /// An object without the column.
    NoColumn,
    /// Null in place of text.
    Null,
    /// A value of another type in place of text.
    NotText(&'static str),
}

impl RowProblem {
    /// The key under which it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            RowProblem::NotUtf8 => "not UTF-8",
            RowProblem::BrokenJson(_) => "broken JSON",
            RowProblem::NoColumn => "no text field",
            RowProblem::Null => "null text",
            RowProblem::NotText(_) => "text of another type",
        }
    }

    /// What is wrong with the row, given the column that was looked for.
    pub fn describe(&self, column: &str) -> String {
        match self {
            RowProblem::NotUtf8 => "is not valid UTF-8".to_owned(),
            RowProblem::BrokenJson(message) => format!("is not one JSON object: {message}"),
            RowProblem::NoColumn => format!("has no field `{column}`"),
            RowProblem::Null => format!("has null for `{column}`"),
            RowProblem::NotText(found) => format!("has {found} for `{column}`, not text"),
        }
    }
}

/// A run of rows of one file.
#[derive(Debug)]
pub struct Batch {
    /// Where its first row begins.
    pub start: Position,
    /// Bytes of the file, as it lies on disk, read when the batch was done; for progress.
    pub file_bytes: u64,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Lines { lines: Lines, column: Arc<str> },
    Column(BinaryArray),
}

impl Batch {
    /// How many rows.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Lines { lines, .. } => lines.len(),
            Rows::Column(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of row `row`; `None` for a blank line.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub fn text(&self, row: usize) -> Result<Option<Cow<'_, str>>, RowProblem> {
        match &self.rows {
            Rows::Lines { lines, column } => json::text_of(lines.line(row), column),
            Rows::Column(values) if row >= values.len() || values.is_null(row) => Err(RowProblem::Null),
            Rows::Column(values) => match std::str::from_utf8(values.value(row)) {
                Ok(text) => Ok(Some(Cow::Borrowed(text))),
                Err(_) => Err(RowProblem::NotUtf8),
            },
        }
    }

    /// Where the row after `row` begins.
    pub fn position_after(&self, row: usize) -> Position {
        let bytes = match &self.rows {
            Rows::Lines { lines, .. } => lines.bytes_to(row),
            Rows::Column(_) => 0,
        };
        Position {
            rows: self.start.rows + row as u64 + 1,
            bytes: self.start.bytes + bytes,
        }
    }
}

/// The batches of a file, in order.
pub type Batches = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// Opens `path` at `from`. `name` decides the format and stands in messages: a cached copy of a remote
/// file has another path.
///
/// # Errors
/// An unknown kind of file, one that cannot be opened, or a Parquet file without a text column `column`.
pub fn open(path: &Path, name: &str, column: &str, from: Position) -> Result<Batches> {
    match format_of(name)? {
        RowFormat::Parquet => parquet::open(path, name, column, from),
        RowFormat::JsonLines(compression) => {
            let column: Arc<str> = Arc::from(column);
            let batches = lines::open(path, name, compression, from)?;
            Ok(Box::new(batches.map(move |batch| {
                let LineBatch {
                    start,
                    file_bytes,
                    lines,
                } = batch?;
                let column = column.clone();
                Ok(Batch {
                    start,
                    file_bytes,
                    rows: Rows::Lines { lines, column },
                })
            })))
        }
    }
}

/// The format `name` tells, or an error that says what names do.
fn format_of(name: &str) -> Result<RowFormat> {
    RowFormat::from_name(name).ok_or_else(|| {
        let problem = format!("its name does not tell the format; it must end in {ROW_FILE_NAMES}");
        CorpusError::source(name, problem)
    })
}
