//! Files of rows: Parquet and JSON (lines or a list), plain or compressed, as batches of text or of whole rows.
//!
//! A reader yields batches of a few megabytes in file order; only a few exist at a time, whatever the size of the file. Rows
//! are parsed by [`Batch::text`], which any thread may call: that work belongs to the many threads that tokenise, not to the
//! one that reads.
//!
//! An unusable row is a [`RowProblem`], which the caller may skip; an unreadable file (damaged, no such column) is an error.
//!
//! [`open`] gives the text of one column, for pretraining; [`open_values`] and [`rows_of`] give rows as JSON, for
//! fine-tuning. Other columns are neither decoded nor checked.

mod arrow_json;
mod columns;
mod format;
mod json;
mod lines;
mod list;
mod mend;
mod parquet;
mod row_groups;
mod sample;
mod schema;
mod unpack;
mod values;

use std::borrow::Cow;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, BinaryArray};
use serde::{Deserialize, Serialize};

use crate::error::Result;

pub use columns::Columns;
pub use format::{ROW_FILE_NAMES, is_listed, is_row_file};
pub use mend::Replaced;
pub use sample::sample_rows;
pub use values::{ValueBatch, ValueBatches, count_rows, open_values, rows_of};

use format::{RowFormat, detect};
use lines::Lines;

/// Maximum bytes of text per batch, give or take one row.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// The position of a reader: where the next row begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Rows before it, lines without text included.
    pub rows: u64,
    /// Uncompressed bytes before it, for files of JSON; 0 for Parquet.
    pub bytes: u64,
}

/// Why a row gives no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowProblem {
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A line that is not one JSON object, with the parser's message.
    BrokenJson(String),
    /// An object without the column.
    NoColumn,
    /// Null instead of text.
    Null,
    /// A value of another type instead of text.
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

    /// The problem in words; `column` is the one that was to be read.
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

/// The text of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowText<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    /// Halves of surrogate pairs, replaced by U+FFFD: Python writes and reads them, UTF-8 cannot.
    pub lone_surrogates: u64,
}

impl Deref for RowText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// A run of rows of one file.
#[derive(Debug)]
pub struct Batch {
    /// Where its first row begins.
    pub start: Position,
    /// Bytes of the file, as stored, read when the batch was complete; for progress.
    pub file_bytes: u64,
    rows: BatchRows,
}

#[derive(Debug)]
enum BatchRows {
    Lines { lines: Lines, column: Arc<str> },
    Column(BinaryArray),
}

impl Batch {
    /// How many rows.
    pub fn len(&self) -> usize {
        match &self.rows {
            BatchRows::Lines { lines, .. } => lines.len(),
            BatchRows::Column(values) => values.len(),
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
    pub fn text(&self, row: usize) -> Result<Option<RowText<'_>>, RowProblem> {
        match &self.rows {
            BatchRows::Lines { lines, column } => json::text_of(lines.line(row), column),
            BatchRows::Column(values) if row >= values.len() || values.is_null(row) => Err(RowProblem::Null),
            BatchRows::Column(values) => match std::str::from_utf8(values.value(row)) {
                Ok(text) => Ok(Some(RowText {
                    text: Cow::Borrowed(text),
                    lone_surrogates: 0,
                })),
                Err(_) => Err(RowProblem::NotUtf8),
            },
        }
    }

    /// Row `row` in messages: "line 3", or "row 3" if rows are not lines.
    pub fn place(&self, row: usize) -> String {
        let unit = match &self.rows {
            BatchRows::Lines { lines, .. } => lines.unit,
            BatchRows::Column(_) => "row",
        };
        format!("{unit} {}", self.start.rows + row as u64 + 1)
    }

    /// Where the row after `row` begins.
    pub fn position_after(&self, row: usize) -> Position {
        let bytes = match &self.rows {
            BatchRows::Lines { lines, .. } => lines.bytes_to(row),
            BatchRows::Column(_) => 0,
        };
        Position {
            rows: self.start.rows + row as u64 + 1,
            bytes: self.start.bytes + bytes,
        }
    }
}

/// The batches of a file, in order.
pub type Batches = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// Opens `path` at `from`. `name` must be that of a file of rows and is used in messages (a cached copy of a remote file has
/// another path); the first bytes decide the format.
///
/// # Errors
/// Another kind of file, one that cannot be opened, or a Parquet file without a text column `column`.
pub fn open(path: &Path, name: &str, column: &str, from: Position) -> Result<Batches> {
    match detect(path, name)? {
        RowFormat::Parquet => parquet::open(path, name, column, from),
        RowFormat::Json(compression) => {
            let column: Arc<str> = Arc::from(column);
            let batches = lines::open(path, name, compression, from)?;
            Ok(Box::new(batches.map(move |batch| {
                let batch = batch?;
                Ok(Batch {
                    start: batch.start,
                    file_bytes: batch.file_bytes,
                    rows: BatchRows::Lines {
                        lines: batch.lines,
                        column: column.clone(),
                    },
                })
            })))
        }
    }
}
