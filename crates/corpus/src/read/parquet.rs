//! The text column of a Parquet file, as arrow record batches. It is decoded as bytes (see `schema.rs`), and each row is
//! checked separately.

use std::fs;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BinaryArray, RecordBatch};
use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;

use smollm3_files::io;

use super::row_groups::{self, Plan, RowGroups, Source};
use super::{Batch, BatchRows, Batches, Columns, Position};
use crate::error::{CorpusError, Result};

/// Row groups decoded at once; more would only wait for the tokenizer.
const ROW_GROUPS_AT_ONCE: usize = 4;

/// Rows a batch holds at most, however short they are.
const BATCH_ROWS: u64 = 8192;

pub(super) fn open(path: &Path, name: &str, column: &str, from: Position) -> Result<Batches> {
    let metadata = row_groups::metadata(path, name, &Columns::named([column]))?;
    let bytes = fs::metadata(path).map_err(io("read", path))?.len();
    check_text(metadata.schema(), column).map_err(|problem| CorpusError::source(name, problem))?;
    let mut leaves = metadata.parquet_schema().columns().iter();
    let leaf = leaves
        .position(|leaf| leaf.path().parts() == [column])
        .unwrap_or(0);

    let rows = row_groups::rows(metadata.metadata());
    let decode = move |batch: &RecordBatch, row: u64| {
        let texts = batch.columns().first().and_then(|column| texts(column));
        let texts = texts.ok_or("the column came back as another type")?;
        let end = row + batch.num_rows() as u64;
        Ok(Batch {
            start: Position { rows: row, bytes: 0 },
            file_bytes: (u128::from(bytes) * u128::from(end) / u128::from(rows.max(1))) as u64,
            rows: BatchRows::Column(texts),
        })
    };
    let source = Source {
        path: path.to_owned(),
        name: name.to_owned(),
        columns: ProjectionMask::leaves(metadata.parquet_schema(), [leaf]),
        metadata,
        decode: Box::new(decode),
    };
    let plan = Plan {
        from: from.rows,
        at_once: ROW_GROUPS_AT_ONCE,
        batch_rows: BATCH_ROWS,
        bytes: &|group| {
            group
                .columns()
                .get(leaf)
                .map_or(0, |column| column.uncompressed_size())
        },
    };
    Ok(Box::new(RowGroups::new(source, &plan)))
}

/// Checks that there is a top-level column of text.
fn check_text(schema: &Schema, column: &str) -> Result<(), String> {
    let Ok(field) = schema.field_with_name(column) else {
        let names = schema.fields().iter().map(|field| format!("`{}`", field.name()));
        let names = names.collect::<Vec<_>>().join(", ");
        return Err(format!("it has no column `{column}`; its columns are {names}"));
    };
    match field.data_type() {
        DataType::Binary | DataType::FixedSizeBinary(_) | DataType::Null => Ok(()),
        kind if kind.is_nested() => Err(format!("its column `{column}` is a list or a group, not text")),
        kind => Err(format!("its column `{column}` is {kind}, not text")),
    }
}

/// A column as bytes.
fn texts(column: &dyn Array) -> Option<BinaryArray> {
    match column.data_type() {
        DataType::Null => Some(BinaryArray::new_null(column.len())),
        DataType::FixedSizeBinary(_) => Some(column.as_fixed_size_binary_opt()?.iter().collect()),
        _ => column.as_binary_opt::<i32>().cloned(),
    }
}
