//! The row groups of a Parquet file, decoded in parallel and handed out in order.
//!
//! Each row group is decoded by its own thread into a channel, a few row groups at a time. Memory is a few batches whatever
//! the size of a row group, and a decoder that panics on a damaged file ends its thread, not the program.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use smollm3_files::io;

use super::{BATCH_BYTES, Columns, schema};
use crate::contained::contained;
use crate::error::{CorpusError, Result};

/// Converts a batch of rows, given the index of its first row; `Err` is the problem in words.
type Decode<T> = Box<dyn Fn(&RecordBatch, u64) -> Result<T, String> + Send + Sync>;

/// A Parquet file and how it is read.
pub(super) struct Source<T> {
    pub(super) path: PathBuf,
    /// For messages.
    pub(super) name: String,
    pub(super) metadata: ArrowReaderMetadata,
    pub(super) columns: ProjectionMask,
    pub(super) decode: Decode<T>,
}

/// Which rows, and how many at a time.
pub(super) struct Plan<'a> {
    /// Rows to skip at the start of the file.
    pub(super) from: u64,
    /// Row groups decoded at once.
    pub(super) at_once: usize,
    /// Rows a batch holds at most, however short they are.
    pub(super) batch_rows: u64,
    /// Uncompressed bytes of the selected columns of a row group.
    pub(super) bytes: &'a dyn Fn(&RowGroupMetaData) -> i64,
}

struct Group {
    index: usize,
    first_row: u64,
    rows: u64,
    skip: usize,
    batch_rows: usize,
}

/// The batches of a file; after an error, none.
pub(super) struct RowGroups<T> {
    source: Arc<Source<T>>,
    at_once: usize,
    waiting: VecDeque<Group>,
    /// Row groups being decoded; the first is being yielded.
    open: VecDeque<Decoding<T>>,
}

struct Decoding<T> {
    group: usize,
    rows_left: u64,
    batches: Receiver<Result<(u64, T)>>,
}

/// The footer of a file.
///
/// # Errors
/// There is none, or it is invalid.
pub(super) fn footer(path: &Path, name: &str) -> Result<(File, ParquetMetaData)> {
    let file = File::open(path).map_err(io("open", path))?;
    let footer = ParquetMetaDataReader::new().parse_and_finish(&file);
    Ok((file, footer.map_err(|error| not_readable(name, &error))?))
}

/// The metadata for decoding `columns` (see `schema.rs`).
///
/// # Errors
/// As [`footer`].
pub(super) fn metadata(path: &Path, name: &str, columns: &Columns) -> Result<ArrowReaderMetadata> {
    let (file, footer) = footer(path, name)?;
    let options = |schema| {
        ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_parquet_schema(Arc::new(schema))
    };
    schema::decoded(footer.file_metadata().schema_descr(), columns)
        .and_then(|schema| ArrowReaderMetadata::load(&file, options(schema)))
        .map_err(|error| not_readable(name, &error))
}

fn not_readable(name: &str, error: &ParquetError) -> CorpusError {
    CorpusError::source(name, format!("not a readable Parquet file: {error}"))
}

/// The rows of all row groups.
pub(super) fn rows(metadata: &ParquetMetaData) -> u64 {
    let rows = metadata.row_groups().iter().map(group_rows);
    rows.fold(0, u64::saturating_add)
}

fn group_rows(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0)
}

impl<T: Send + 'static> RowGroups<T> {
    /// Plans the reading of `source`; nothing is read yet.
    pub(super) fn new(source: Source<T>, plan: &Plan<'_>) -> Self {
        let mut waiting = VecDeque::new();
        let mut row = 0;
        for (index, group) in source.metadata.metadata().row_groups().iter().enumerate() {
            let rows = group_rows(group);
            if row + rows > plan.from {
                let bytes = u64::try_from((plan.bytes)(group)).unwrap_or(0);
                let batch_rows =
                    (BATCH_BYTES as u64 * rows / bytes.max(1)).clamp(1, plan.batch_rows) as usize;
                let skip = plan.from.saturating_sub(row);
                waiting.push_back(Group {
                    index,
                    first_row: row + skip,
                    rows: rows - skip,
                    skip: skip as usize,
                    batch_rows,
                });
            }
            row += rows;
        }
        RowGroups {
            source: Arc::new(source),
            at_once: plan.at_once,
            waiting,
            open: VecDeque::new(),
        }
    }
}

impl<T: Send + 'static> Iterator for RowGroups<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.open.len() < self.at_once
                && let Some(group) = self.waiting.pop_front()
            {
                let (sender, batches) = sync_channel(1);
                let source = self.source.clone();
                self.open.push_back(Decoding {
                    group: group.index,
                    rows_left: group.rows,
                    batches,
                });
                // The thread ends with its row group, or at the next batch after this iterator is dropped.
                thread::spawn(move || {
                    // The decoder panics on some damaged files.
                    if let Err(panic) = contained(|| read_group(&source, &group, &sender)) {
                        let problem = format!("row group {} is damaged: {panic}", group.index);
                        let _ = sender.send(Err(CorpusError::source(&source.name, problem)));
                    }
                });
            }
            let decoding = self.open.front_mut()?;
            let batch = match decoding.batches.recv() {
                Ok(batch) => batch,
                Err(_) if decoding.rows_left == 0 => {
                    self.open.pop_front();
                    continue;
                }
                // The decoder gave up: rows must not vanish silently.
                Err(_) => {
                    let problem = format!(
                        "row group {} is damaged: {} rows are missing",
                        decoding.group, decoding.rows_left
                    );
                    Err(CorpusError::source(&self.source.name, problem))
                }
            };
            return Some(match batch {
                Ok((rows, batch)) => {
                    decoding.rows_left = decoding.rows_left.saturating_sub(rows);
                    Ok(batch)
                }
                Err(error) => {
                    self.waiting.clear();
                    self.open.clear();
                    Err(error)
                }
            });
        }
    }
}

fn read_group<T>(source: &Source<T>, group: &Group, batches: &SyncSender<Result<(u64, T)>>) {
    let send_all = || -> Result<(), String> {
        let mut row = group.first_row;
        for batch in open_group(source, group)? {
            let batch = batch.map_err(|error| error.to_string())?;
            let rows = batch.num_rows() as u64;
            let decoded = (source.decode)(&batch, row)?;
            row += rows;
            if batches.send(Ok((rows, decoded))).is_err() {
                break;
            }
        }
        Ok(())
    };
    if let Err(error) = send_all() {
        let problem = format!("row group {} cannot be read: {error}", group.index);
        let _ = batches.send(Err(CorpusError::source(&source.name, problem)));
    }
}

fn open_group<T>(source: &Source<T>, group: &Group) -> Result<ParquetRecordBatchReader, String> {
    if let Some(column) = column_before_file(source, group.index) {
        return Err(format!("its column `{column}` lies before the file"));
    }
    let opened = File::open(&source.path).map_err(io("open", &source.path));
    let file = opened.map_err(|error| error.to_string())?;
    ParquetRecordBatchReaderBuilder::new_with_metadata(file, source.metadata.clone())
        .with_row_groups(vec![group.index])
        .with_projection(source.columns.clone())
        .with_batch_size(group.batch_rows)
        .with_offset(group.skip)
        .build()
        .map_err(|error| error.to_string())
}

/// A selected column with a negative offset in the footer, on which the decoder would panic.
fn column_before_file<T>(source: &Source<T>, group: usize) -> Option<String> {
    let group = source.metadata.metadata().row_groups().get(group)?;
    let mut columns = group.columns().iter().enumerate();
    let (_, column) = columns.find(|(leaf, column)| {
        let start = column
            .dictionary_page_offset()
            .unwrap_or(column.data_page_offset());
        source.columns.leaf_included(*leaf) && (start < 0 || column.compressed_size() < 0)
    })?;
    Some(column.column_path().string())
}
