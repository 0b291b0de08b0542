//! The text column of a Parquet file, as arrow record batches.
//!
//! The column is read as bytes, not as strings: arrow checks UTF-8 for whole pages and fails them
//! whole, and one broken row must not cost a page. So the file's schema is replaced, when decoding,
//! by one in which the column has no "string" mark, and every row is checked on its own.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type};

use super::row_groups::{self, Plan, RowGroups, Source, not_readable};
use super::{Batch, Batches, Position, Rows};
use crate::error::{CorpusError, Result};

/// Row groups decoded at once; more would only wait for the tokenizer.
const ROW_GROUPS_AT_ONCE: usize = 4;

/// Rows a batch holds at most, however short they are.
const BATCH_ROWS: u64 = 8192;

pub(super) fn open(path: &Path, name: &str, column: &str, from: Position) -> Result<Batches> {
    let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let (file, metadata) = row_groups::metadata(path, name, options())?;
    let bytes = file.metadata().map_err(CorpusError::io("read", path))?.len();
    let schema = metadata.parquet_schema();
    let leaf = text_column(schema, name, column)?;
    let as_bytes = without_text_mark(schema, column).map_err(|error| not_readable(name, &error))?;
    let metadata = ArrowReaderMetadata::load(&file, options().with_parquet_schema(Arc::new(as_bytes)))
        .map_err(|error| not_readable(name, &error))?;

    let rows = row_groups::rows(&metadata);
    let decode = move |batch: &RecordBatch, row: u64| {
        let Some(values) = batch
            .columns()
            .first()
            .and_then(|column| column.as_binary_opt::<i32>())
        else {
            return Err("the column came back as another type".to_owned());
        };
        let end = row + batch.num_rows() as u64;
        Ok(Batch {
            start: Position { rows: row, bytes: 0 },
            file_bytes: (u128::from(bytes) * u128::from(end) / u128::from(rows.max(1))) as u64,
            rows: Rows::Column(values.clone()),
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
        bytes: &|group| group.column(leaf).uncompressed_size(),
    };
    Ok(Box::new(RowGroups::new(source, &plan)))
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
