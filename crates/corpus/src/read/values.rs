//! Rows as JSON objects, for data with more than one column of text: conversations, tools, preference pairs.
//!
//! Reads the same batches of lines and row groups as for text (see `lines.rs` and `row_groups.rs`), at most a thousand
//! [`Value`]s at a time, so memory does not grow with the file. Only blank lines are skipped: an unreadable row is an error,
//! because such data sets are small and repaired by hand.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use serde_json::Value;

use super::format::{RowFormat, detect};
use super::lines::{LineBatch, LineBatches};
use super::row_groups::{self, Plan, RowGroups, Source};
use super::{Columns, Position, Replaced, arrow_json, json, lines};
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
    /// What was replaced, by index of the row.
    replaced: Vec<(usize, Replaced)>,
    numbers: Numbers,
}

/// Where the rows of a batch are in their file, from 1.
#[derive(Debug, Clone)]
enum Numbers {
    /// The number of each, as blank lines may lie between them, and the word for a row.
    Each(Vec<u64>, &'static str),
    /// The first one.
    First(u64),
}

impl ValueBatch {
    /// The place of row `row` of this batch in its file, from 1: its line, blank lines counted, or its
    /// number in a list or a Parquet file.
    pub fn number(&self, row: usize) -> u64 {
        match &self.numbers {
            Numbers::Each(numbers, _) => numbers.get(row).copied().unwrap_or(0),
            Numbers::First(first) => first + row as u64,
        }
    }

    /// The same for messages: "line 3 of `a.jsonl`".
    pub fn place(&self, row: usize) -> String {
        let unit = match &self.numbers {
            Numbers::Each(_, unit) => unit,
            Numbers::First(_) => "row",
        };
        format!("{unit} {} of `{}`", self.number(row), self.file)
    }

    /// Replacements in row `row` of what JSON or UTF-8 cannot represent.
    pub fn replaced(&self, row: usize) -> Replaced {
        let found = self.replaced.binary_search_by_key(&row, |(index, _)| *index);
        let found = found.ok().and_then(|at| self.replaced.get(at));
        found.map(|(_, replaced)| *replaced).unwrap_or_default()
    }
}

/// Batches of rows in order; after an error, none.
pub type ValueBatches = Box<dyn Iterator<Item = Result<ValueBatch>> + Send>;

/// Opens `path` for reading the `columns` of its rows; the others are null. `name` must be that of a file of rows and is
/// used in messages (a cached copy of a remote file has another path); the first bytes decide the format.
///
/// Parquet values become what the same rows have in JSON, with null for absent fields of structs. Maps with keys of text are
/// objects, others lists of `[key, value]`. Times, dates, and decimals of more digits than a float keeps are text as Python
/// prints them; bytes are text. NaN and infinities are null (see [`ValueBatch::replaced`]).
///
/// # Errors
/// An unsupported or unreadable file, or a selected column without a form in JSON. While reading: a damaged file; a line
/// that is not one JSON object, with its number; bytes that are not text, with their column.
pub fn open_values(path: &Path, name: &str, columns: &Columns) -> Result<ValueBatches> {
    let file: Arc<str> = Arc::from(name);
    Ok(match detect(path, name)? {
        RowFormat::Json(compression) => Box::new(LineValues {
            batches: Some(lines::open(path, name, compression, Position::default())?),
            file,
            columns: columns.clone(),
            current: None,
        }),
        RowFormat::Parquet => Box::new(parquet_values(path, file, columns)?),
    })
}

/// The number of rows that [`open_values`] gives, without decoding them: from the footer of a Parquet file; nonblank lines
/// are counted, which reads (and decompresses) the file.
///
/// # Errors
/// An unknown kind of file, or one that cannot be read.
pub fn count_rows(path: &Path, name: &str) -> Result<u64> {
    match detect(path, name)? {
        RowFormat::Json(compression) => {
            let mut rows = 0;
            for batch in lines::open(path, name, compression, Position::default())? {
                let lines = batch?.lines;
                let given = (0..lines.len()).filter(|line| !json::is_blank(lines.line(*line)));
                rows += given.count() as u64;
            }
            Ok(rows)
        }
        RowFormat::Parquet => {
            let (_, footer) = row_groups::footer(path, name)?;
            Ok(row_groups::rows(&footer))
        }
    }
}

/// The rows of all files of a source, in order; while one file is read, the next is prefetched. No batch holds rows of two
/// files.
///
/// # Errors
/// As [`Shards::open`] and [`open_values`], as items; an error is the last item.
pub fn rows_of<'a>(
    files: &'a dyn Shards,
    columns: &Columns,
) -> impl Iterator<Item = Result<ValueBatch>> + use<'a> {
    ShardValues {
        files,
        columns: columns.clone(),
        next: 0,
        open: None,
    }
}

fn parquet_values(path: &Path, file: Arc<str>, columns: &Columns) -> Result<RowGroups<ValueBatch>> {
    let metadata = row_groups::metadata(path, &file, columns)?;
    let fields = metadata.schema().fields().clone();
    let read = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| columns.holds(field.name()));
    let read = ProjectionMask::roots(metadata.parquet_schema(), read.map(|(index, _)| index));
    arrow_json::check(&fields, columns).map_err(|problem| CorpusError::source(&*file, problem))?;
    let name = file.to_string();
    let decode = move |batch: &RecordBatch, row: u64| {
        let (rows, replaced) = arrow_json::rows(batch, &fields)?;
        Ok(ValueBatch {
            file: file.clone(),
            rows,
            replaced,
            numbers: Numbers::First(row + 1),
        })
    };
    let source = Source {
        path: path.to_owned(),
        name,
        columns: read.clone(),
        metadata,
        decode: Box::new(decode),
    };
    let plan = Plan {
        from: 0,
        at_once: ROW_GROUPS_AT_ONCE,
        batch_rows: BATCH_ROWS as u64,
        bytes: &|group| {
            let leaves = group.columns().iter().enumerate();
            let read = leaves.filter(|(leaf, _)| read.leaf_included(*leaf));
            let sizes = read.map(|(_, column)| column.uncompressed_size());
            sizes.fold(0, i64::saturating_add)
        },
    };
    Ok(RowGroups::new(source, &plan))
}

/// The objects of a file of lines.
struct LineValues {
    file: Arc<str>,
    columns: Columns,
    /// `None` after the end or an error.
    batches: Option<LineBatches>,
    /// The current lines, and how many of them are done.
    current: Option<(LineBatch, usize)>,
}

impl LineValues {
    fn fill(&mut self) -> Result<Option<ValueBatch>> {
        let mut rows = Vec::new();
        let mut numbers = Vec::new();
        let mut changed = Vec::new();
        let mut unit = "line";
        while rows.len() < BATCH_ROWS {
            let (batch, done) = match &mut self.current {
                Some((batch, done)) if *done < batch.lines.len() => (batch, done),
                // Rows are yielded before the next lines are read: memory stays at one batch of lines.
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
            unit = batch.lines.unit;
            let row = json::object_of(batch.lines.line(*done), &self.columns).map_err(|problem| {
                // Only problems of a single column name it, and there are none here.
                CorpusError::source(&*self.file, format!("{unit} {number} {}", problem.describe("")))
            })?;
            *done += 1;
            if let Some((row, replaced)) = row {
                if replaced.any() {
                    changed.push((rows.len(), replaced));
                }
                rows.push(row);
                numbers.push(number);
            }
        }
        Ok(Some(ValueBatch {
            file: self.file.clone(),
            rows,
            replaced: changed,
            numbers: Numbers::Each(numbers, unit),
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
    columns: Columns,
    next: usize,
    /// The open file; its [`OpenShard`] pins it in the cache.
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
                self.files.prefetch(self.next + 1);
            }
            let file = self.files.open(self.next)?;
            self.next += 1;
            let values = open_values(file.path(), &shard.name, &self.columns)?;
            self.open = Some((values, file));
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
