//! The text column of a Parquet file, as arrow record batches, row groups in parallel.
//!
//! Each row group is decoded by a thread of its own into a channel of two batches, a few row groups at
//! a time; batches come out in the order of the file. Memory is a few batches whatever the size of a
//! row group.
//!
//! The column is read as bytes, not as strings: arrow checks UTF-8 for whole pages and fails them
//! whole, and one broken row must not cost a page. So the file's schema is replaced, when decoding,
//! by one in which the column has no "string" mark, and every row is checked on its own.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow_array::cast::AsArray;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type};

use super::{BATCH_BYTES, Batch, Batches, Position, Rows};
use crate::error::{CorpusError, Result};

/// Row groups decoded at once; more would only wait for the tokenizer.
const ROW_GROUPS_AT_ONCE: usize = 4;

/// Rows a batch holds at most, however short they are.
const BATCH_ROWS: usize = 8192;

pub(super) fn open(path: &Path, name: &str, column: &str, from: Position) -> Result<Batches> {
    let file = File::open(path).map_err(CorpusError::io("open", path))?;
    let bytes = file.metadata().map_err(CorpusError::io("read", path))?.len();
    let trouble =
        |error: ParquetError| CorpusError::source(name, format!("not a readable Parquet file: {error}"));
    let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(true);

    let metadata = ArrowReaderMetadata::load(&file, options()).map_err(trouble)?;
    let schema = metadata.parquet_schema();
    let leaf = text_column(schema, name, column)?;
    let as_bytes = without_text_mark(schema, column).map_err(trouble)?;
    let metadata = ArrowReaderMetadata::load(&file, options().with_parquet_schema(Arc::new(as_bytes)))
        .map_err(trouble)?;

    let mut groups = VecDeque::new();
    let mut row = 0;
    for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        if row + rows > from.rows {
            let text = u64::try_from(group.column(leaf).uncompressed_size()).unwrap_or(0);
            let batch_rows = (BATCH_BYTES as u64 * rows / text.max(1)).clamp(1, BATCH_ROWS as u64) as usize;
            let skip = from.rows.saturating_sub(row);
            groups.push_back(Group {
                index,
                first_row: row + skip,
                rows: rows - skip,
                skip: skip as usize,
                batch_rows,
            });
        }
        row += rows;
    }
    Ok(Box::new(RowGroups {
        file: Arc::new(ParquetFile {
            path: path.to_owned(),
            name: name.to_owned(),
            metadata,
            leaf,
            bytes,
            rows: row,
        }),
        waiting: groups,
        open: VecDeque::new(),
    }))
}

/// The leaf of the top-level text column `column`.
fn text_column(schema: &SchemaDescriptor, name: &str, column: &str) -> Result<usize> {
    let fields = schema.root_schema().get_fields();
    let Some(field) = fields.iter().find(|field| field.name() == column) else {
        let names: Vec<_> = fields.iter().map(|field| format!("`{}`", field.name())).collect();
        let problem = format!(
            "it has no column `{column}`; its columns are {}",
            names.join(", ")
        );
        return Err(CorpusError::source(name, problem));
    };
    let leaf = schema
        .columns()
        .iter()
        .position(|leaf| leaf.path().parts() == [column]);
    let info = field.get_basic_info();
    let repeated = info.has_repetition() && info.repetition() == parquet::basic::Repetition::REPEATED;
    let text = field.is_primitive() && field.get_physical_type() == PhysicalType::BYTE_ARRAY && !repeated;
    match leaf.filter(|_| text) {
        Some(leaf) => Ok(leaf),
        None => {
            let kind = match field.is_primitive() && !repeated {
                true => field.get_physical_type().to_string(),
                false => "a list or a group".to_owned(),
            };
            Err(CorpusError::source(
                name,
                format!("its column `{column}` is {kind}, not text"),
            ))
        }
    }
}

/// The same schema with plain bytes for `column`.
fn without_text_mark(schema: &SchemaDescriptor, column: &str) -> Result<SchemaDescriptor, ParquetError> {
    let root = schema.root_schema();
    let mut fields = Vec::new();
    for field in root.get_fields() {
        fields.push(match field.name() == column {
            true => Arc::new(
                Type::primitive_type_builder(column, PhysicalType::BYTE_ARRAY)
                    .with_repetition(field.get_basic_info().repetition())
                    .build()?,
            ),
            false => field.clone(),
        });
    }
    let root = Type::group_type_builder(root.name())
        .with_fields(fields)
        .build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

struct ParquetFile {
    path: PathBuf,
    name: String,
    metadata: ArrowReaderMetadata,
    leaf: usize,
    bytes: u64,
    rows: u64,
}

struct Group {
    index: usize,
    first_row: u64,
    rows: u64,
    skip: usize,
    batch_rows: usize,
}

/// The row groups that are being decoded, the first of which is handed out.
struct RowGroups {
    file: Arc<ParquetFile>,
    waiting: VecDeque<Group>,
    open: VecDeque<Decoding>,
}

struct Decoding {
    group: usize,
    rows_left: u64,
    batches: Receiver<Result<Batch>>,
}

impl Iterator for RowGroups {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.open.len() < ROW_GROUPS_AT_ONCE
                && let Some(group) = self.waiting.pop_front()
            {
                let (sender, batches) = sync_channel(1);
                let file = self.file.clone();
                self.open.push_back(Decoding {
                    group: group.index,
                    rows_left: group.rows,
                    batches,
                });
                // It ends with its row group, or at the next batch after this iterator is dropped.
                thread::spawn(move || read_group(&file, &group, &sender));
            }
            let decoding = self.open.front_mut()?;
            let batch = match decoding.batches.recv() {
                Ok(batch) => batch,
                Err(_) if decoding.rows_left == 0 => {
                    self.open.pop_front();
                    continue;
                }
                // The decoder gave up (it panics on some damaged files): rows must not vanish silently.
                Err(_) => {
                    let problem = format!(
                        "row group {} is damaged: {} rows are missing",
                        decoding.group, decoding.rows_left
                    );
                    Err(CorpusError::source(&self.file.name, problem))
                }
            };
            match &batch {
                Ok(batch) => decoding.rows_left = decoding.rows_left.saturating_sub(batch.len() as u64),
                Err(_) => {
                    self.waiting.clear();
                    self.open.clear();
                }
            }
            return Some(batch);
        }
    }
}

fn read_group(file: &ParquetFile, group: &Group, batches: &SyncSender<Result<Batch>>) {
    let trouble = |error: String| {
        let problem = format!("row group {} cannot be read: {error}", group.index);
        CorpusError::source(&file.name, problem)
    };
    let opened = File::open(&file.path)
        .map_err(CorpusError::io("open", &file.path))
        .and_then(|handle| {
            let schema = file.metadata.parquet_schema();
            ParquetRecordBatchReaderBuilder::new_with_metadata(handle, file.metadata.clone())
                .with_row_groups(vec![group.index])
                .with_projection(ProjectionMask::leaves(schema, [file.leaf]))
                .with_batch_size(group.batch_rows)
                .with_offset(group.skip)
                .build()
                .map_err(|error| trouble(error.to_string()))
        });
    let reader = match opened {
        Ok(reader) => reader,
        Err(error) => {
            let _ = batches.send(Err(error));
            return;
        }
    };
    let mut row = group.first_row;
    for batch in reader {
        let batch = match batch {
            Ok(batch) => match batch
                .columns()
                .first()
                .and_then(|column| column.as_binary_opt::<i32>())
            {
                Some(values) => {
                    let start = Position { rows: row, bytes: 0 };
                    row += batch.num_rows() as u64;
                    let file_bytes =
                        (u128::from(file.bytes) * u128::from(row) / u128::from(file.rows.max(1))) as u64;
                    Ok(Batch {
                        start,
                        file_bytes,
                        rows: Rows::Column(values.clone()),
                    })
                }
                None => Err(trouble("the column came back as another type".to_owned())),
            },
            Err(error) => Err(trouble(error.to_string())),
        };
        let failed = batch.is_err();
        if batches.send(batch).is_err() || failed {
            return;
        }
    }
}
