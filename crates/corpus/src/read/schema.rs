//! The schema with which a Parquet file is decoded, which differs from the one in its footer.
//!
//! Text is decoded as bytes: arrow checks UTF-8 per page and fails the whole page without the column's name, and one broken
//! row must not cost a page. Columns that are not read lose their logical types, so that a type that is newer than this
//! reader, or invalid, does no harm.
//!
//! The types that `pyarrow` records in the footer are ignored: they add nothing that has a form in JSON.

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::Columns;

/// The schema for decoding `columns`.
///
/// # Errors
/// A type that contradicts itself.
pub(super) fn decoded(
    schema: &SchemaDescriptor,
    columns: &Columns,
) -> Result<SchemaDescriptor, ParquetError> {
    let root = schema.root_schema();
    let fields = root
        .get_fields()
        .iter()
        .map(|field| rebuilt(field, columns.holds(field.name())));
    let root = Type::group_type_builder(root.name())
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

/// The same type without the logical type of text or, if it is not read, without any.
fn rebuilt(field: &TypePtr, is_read: bool) -> Result<TypePtr, ParquetError> {
    let info = field.get_basic_info();
    match field.as_ref() {
        Type::PrimitiveType { .. } if is_read && !is_text(field) => Ok(field.clone()),
        Type::PrimitiveType { type_length, .. } => {
            let mut plain = Type::primitive_type_builder(field.name(), field.get_physical_type())
                .with_length(*type_length)
                .with_id(info.has_id().then(|| info.id()));
            if info.has_repetition() {
                plain = plain.with_repetition(info.repetition());
            }
            plain.build().map(Arc::new)
        }
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| rebuilt(field, is_read));
            let mut group = Type::group_type_builder(field.name())
                .with_fields(fields.collect::<Result<_, _>>()?)
                .with_id(info.has_id().then(|| info.id()));
            if info.has_repetition() {
                group = group.with_repetition(info.repetition());
            }
            if is_read {
                group = group
                    .with_converted_type(info.converted_type())
                    .with_logical_type(info.logical_type_ref().cloned());
            }
            group.build().map(Arc::new)
        }
    }
}

/// Whether a primitive type is text, annotated or not.
fn is_text(field: &Type) -> bool {
    let info = field.get_basic_info();
    field.is_primitive()
        && field.get_physical_type() == PhysicalType::BYTE_ARRAY
        && match info.logical_type_ref() {
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) => true,
            Some(_) => false,
            None => matches!(
                info.converted_type(),
                ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
            ),
        }
}
