//! Whole rows as JSON objects, for data that are more than one column of text: conversations, tools,
//! pairs of answers.
//!
//! The same batches of lines and row groups as for text (see `lines.rs` and `row_groups.rs`), each turned
//! into at most a thousand [`Value`]s at a time, so memory does not grow with the file. Nothing is passed
//! over but blank lines: a row that cannot be read is an error, for such sets are small and mended by hand.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use serde_json::Value;

use super::lines::{LineBatch, LineBatches};
use super::row_groups::{self, Plan, RowGroups, Source};
use super::{Position, RowFormat, arrow_json, format_of, json, lines};
use crate::error::{CorpusError, Result};
use crate::shards::{OpenShard, Shards};

/// Rows a batch holds at most.
const BATCH_ROWS: usize = 1_000;

/// Row groups decoded at once: objects take several times the memory of their columns.
const ROW_GROUPS_AT_ONCE: usize = 2;

/// A run of rows of one file.
#[derive(Debug, Clone)]
pub struct ValueBatch {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// The rows, each a [`Value::Object`] with its keys in the order of the file; never none.
    pub rows: Vec<Value>,
    numbers: Numbers,
}

/// Where the rows of a batch are in their file, from 1.
#[derive(Debug, Clone)]
enum Numbers {
    /// Blank lines between them are no rows, so each has a number of its own.
    Lines(Vec<u64>),
    /// The first one.
    Rows(u64),
}

impl ValueBatch {
    /// The place of row `row` of this batch in its file, from 1: its line, blank lines counted, or its
    /// Parquet row.
    pub fn number(&self, row: usize) -> u64 {
        match &self.numbers {
            Numbers::Lines(lines) => lines.get(row).copied().unwrap_or(0),
            Numbers::Rows(first) => first + row as u64,
        }
    }

    /// The same for messages: "line 3 of `a.jsonl`".
    pub fn place(&self, row: usize) -> String {
        let unit = match &self.numbers {
            Numbers::Lines(_) => "line",
            Numbers::Rows(_) => "row",
        };
        format!("{unit} {} of `{}`", self.number(row), self.file)
    }
}

/// Batches of rows in order; after an error, none.
pub type ValueBatches = Box<dyn Iterator<Item = Result<ValueBatch>> + Send>;

/// Opens `path` for reading whole rows. `name` decides the format and stands in messages: a cached copy of
/// a remote file has another path.
///
/// Parquet rows become what pyarrow's `to_pylist` gives, null fields of structs included; maps are lists
/// of `[key, value]`.
///
/// # Errors
/// An unknown kind of file, one that cannot be opened, or a Parquet column of a type that JSON does not
/// have (times, decimals, bytes). While reading: a damaged file; a line that is not one JSON object, with
/// its number; a NaN or an infinity.
pub fn open_values(path: &Path, name: &str) -> Result<ValueBatches> {
    let file: Arc<str> = Arc::from(name);
    Ok(match format_of(name)? {
        RowFormat::JsonLines(compression) => Box::new(LineValues {
            batches: Some(lines::open(path, name, compression, Position::default())?),
            file,
            current: None,
        }),
        RowFormat::Parquet => Box::new(parquet_values(path, file)?),
    })
}

/// How many rows [`open_values`] gives, without decoding them: from the footer of a Parquet file; lines
/// that are not blank are counted, which reads (and decompresses) the file.
///
/// # Errors
/// An unknown kind of file, or one that cannot be read.
pub fn count_rows(path: &Path, name: &str) -> Result<u64> {
    match format_of(name)? {
        RowFormat::JsonLines(compression) => {
            let mut rows = 0;
            for batch in lines::open(path, name, compression, Position::default())? {
                let lines = batch?.lines;
                let given = (0..lines.len()).filter(|line| !json::is_blank(lines.line(*line)));
                rows += given.count() as u64;
            }
            Ok(rows)
        }
        RowFormat::Parquet => {
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let (_, metadata) = row_groups::metadata(path, name, options)?;
            Ok(row_groups::rows(&metadata))
        }
    }
}

/// The rows of all files of a source, one file after another; the next one is fetched while one is read.
/// No batch holds rows of two files.
///
/// # Errors
/// As [`Shards::open`] and [`open_values`], as items; the first one is the last item.
pub fn rows_of(files: &dyn Shards) -> impl Iterator<Item = Result<ValueBatch>> + '_ {
    ShardValues {
        files,
        next: 0,
        open: None,
    }
}

fn parquet_values(path: &Path, file: Arc<str>) -> Result<RowGroups<ValueBatch>> {
    let (_, metadata) = row_groups::metadata(path, &file, ArrowReaderOptions::new())?;
    arrow_json::check(metadata.schema().fields()).map_err(|problem| CorpusError::source(&*file, problem))?;
    let name = file.to_string();
    let decode = move |batch: &RecordBatch, row: u64| {
        Ok(ValueBatch {
            file: file.clone(),
            rows: arrow_json::rows(batch)?,
            numbers: Numbers::Rows(row + 1),
        })
    };
    let source = Source {
        path: path.to_owned(),
        name,
        metadata,
        columns: ProjectionMask::all(),
        decode: Box::new(decode),
    };
    let plan = Plan {
        from: 0,
        at_once: ROW_GROUPS_AT_ONCE,
        batch_rows: BATCH_ROWS as u64,
        bytes: &|group| group.total_byte_size(),
    };
    Ok(RowGroups::new(source, &plan))
}

/// The objects of a file of lines.
struct LineValues {
    file: Arc<str>,
    /// `None` after the end or an error.
    batches: Option<LineBatches>,
    /// Lines that were read, and how many of them are done.
    current: Option<(LineBatch, usize)>,
}

impl LineValues {
    fn fill(&mut self) -> Result<Option<ValueBatch>> {
        let mut rows = Vec::new();
        let mut numbers = Vec::new();
        while rows.len() < BATCH_ROWS {
            let (batch, done) = match &mut self.current {
                Some((batch, done)) if *done < batch.lines.len() => (batch, done),
                // Not on to the next lines with rows in hand: memory stays at one batch of lines.
                _ if !rows.is_empty() => break,
                current => match self.batches.as_mut().and_then(Iterator::next) {
                    Some(batch) => {
                        let (batch, done) = current.insert((batch?, 0));
                        (batch, done)
                    }
                    None => return Ok(None),
                },
            };
            let number = batch.start.rows + *done as u64 + 1;
            let row = json::object_of(batch.lines.line(*done)).map_err(|problem| {
                // The column's name is for problems of one column, of which there are none here.
                CorpusError::source(&*self.file, format!("line {number} {}", problem.describe("")))
            })?;
            *done += 1;
            if let Some(row) = row {
                rows.push(row);
                numbers.push(number);
            }
        }
        Ok(Some(ValueBatch {
            file: self.file.clone(),
            rows,
            numbers: Numbers::Lines(numbers),
        }))
    }
}

impl Iterator for LineValues {
    type Item = Result<ValueBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.as_ref()?;
        let batch = self.fill();
        if !matches!(batch, Ok(Some(_))) {
            (self.batches, self.current) = (None, None);
        }
        batch.transpose()
    }
}

/// The rows of several files.
struct ShardValues<'a> {
    files: &'a dyn Shards,
    next: usize,
    /// The file that is read; its [`OpenShard`] keeps it in the cache.
    open: Option<(ValueBatches, OpenShard)>,
}

impl ShardValues<'_> {
    fn advance(&mut self) -> Result<Option<ValueBatch>> {
        loop {
            if let Some((batches, _)) = &mut self.open {
                match batches.next() {
                    Some(batch) => return batch.map(Some),
                    None => self.open = None,
                }
            }
            let Some(shard) = self.files.shards().get(self.next) else {
                return Ok(None);
            };
            if self.next + 1 < self.files.shards().len() {
                // It may come from afar while this one is read.
                self.files.prefetch(self.next + 1);
            }
            let file = self.files.open(self.next)?;
            self.next += 1;
            self.open = Some((open_values(file.path(), &shard.name)?, file));
        }
    }
}

impl Iterator for ShardValues<'_> {
    type Item = Result<ValueBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.advance();
        if batch.is_err() {
            self.open = None;
            self.next = usize::MAX;
        }
        batch.transpose()
    }
}
