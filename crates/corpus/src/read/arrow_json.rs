//! Arrow arrays as JSON values, as pyarrow's `to_pylist` gives them.
//!
//! A recursion of its own rather than the `arrow-json` crate: that one writes text to be parsed again,
//! and turns what JSON lacks (times, bytes, NaN) into something else without a word.
//!
//! Structs keep all their fields, absent ones as null, in the order of the schema; maps are lists of
//! `[key, value]`; `float32` widens to the nearest `f64`, digits and all, as in Python.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, GenericListArray, OffsetSizeTrait, RecordBatch, StructArray};
use arrow_schema::{DataType, Fields};
use serde_json::{Map, Number, Value};

/// Why a schema or a value has no JSON form, with the path of its column.
type Problem = String;

/// Whether every column has a JSON form.
///
/// # Errors
/// The first column that has none, with its path and type, or two columns of one name.
pub(super) fn check(columns: &Fields) -> Result<(), Problem> {
    check_fields(columns, "")
}

fn check_fields(fields: &Fields, path: &str) -> Result<(), Problem> {
    let mut names = HashSet::new();
    for field in fields {
        let path = below(path, field.name());
        if !names.insert(field.name()) {
            return Err(format!("it has two columns `{path}`"));
        }
        check_type(field.data_type(), &path)?;
    }
    Ok(())
}

fn check_type(kind: &DataType, path: &str) -> Result<(), Problem> {
    match kind {
        DataType::Null
        | DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64 => Ok(()),
        kind if kind.is_integer() => Ok(()),
        DataType::Struct(fields) => check_fields(fields, path),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            check_type(item.data_type(), &items(path))
        }
        DataType::Map(entries, _) => check_type(entries.data_type(), path),
        DataType::Dictionary(_, values) => check_type(values, path),
        other => Err(format!(
            "its column `{path}` is {other}, which has no JSON form; store it as text or a number, \
             or leave it out"
        )),
    }
}

/// The rows of `batch` as objects.
///
/// # Errors
/// A number that JSON does not have, with the path of its column.
pub(super) fn rows(batch: &RecordBatch) -> Result<Vec<Value>, Problem> {
    structs(&StructArray::from(batch.clone()), "")
}

/// One value a row. Nested arrays are converted whole and then dealt out to the rows.
fn values(array: &dyn Array, path: &str) -> Result<Vec<Value>, Problem> {
    match array.data_type() {
        DataType::Null => Ok(vec![Value::Null; array.len()]),
        DataType::Boolean => Ok(array.as_boolean().iter().map(Value::from).collect()),
        DataType::Utf8 => Ok(array.as_string::<i32>().iter().map(Value::from).collect()),
        DataType::LargeUtf8 => Ok(array.as_string::<i64>().iter().map(Value::from).collect()),
        DataType::Utf8View => Ok(array.as_string_view().iter().map(Value::from).collect()),
        DataType::Int8 => Ok(integers::<Int8Type>(array)),
        DataType::Int16 => Ok(integers::<Int16Type>(array)),
        DataType::Int32 => Ok(integers::<Int32Type>(array)),
        DataType::Int64 => Ok(integers::<Int64Type>(array)),
        DataType::UInt8 => Ok(integers::<UInt8Type>(array)),
        DataType::UInt16 => Ok(integers::<UInt16Type>(array)),
        DataType::UInt32 => Ok(integers::<UInt32Type>(array)),
        DataType::UInt64 => Ok(integers::<UInt64Type>(array)),
        DataType::Float16 => floats::<Float16Type>(array, path, |value| value.to_f64()),
        DataType::Float32 => floats::<Float32Type>(array, path, f64::from),
        DataType::Float64 => floats::<Float64Type>(array, path, |value| value),
        DataType::Struct(_) => structs(array.as_struct(), path),
        DataType::List(_) => lists(array, array.as_list::<i32>(), path),
        DataType::LargeList(_) => lists(array, array.as_list::<i64>(), path),
        DataType::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).unwrap_or(0);
            let all = values(array.as_fixed_size_list().values(), &items(path))?;
            Ok(deal(array, |_| length, all))
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let entries = covered(map.entries(), map.value_offsets());
            let pairs = pairs(entries.as_struct(), path)?;
            Ok(deal(
                array,
                |row| usize::try_from(map.value_length(row)).unwrap_or(0),
                pairs,
            ))
        }
        DataType::Dictionary(_, _) => dictionary(array, path),
        other => Err(format!("its column `{path}` is {other}, which has no JSON form")),
    }
}

fn integers<T>(array: &dyn Array) -> Vec<Value>
where
    T: ArrowPrimitiveType,
    Value: From<T::Native>,
{
    let integer = |value: Option<T::Native>| value.map_or(Value::Null, Value::from);
    array.as_primitive::<T>().iter().map(integer).collect()
}

fn floats<T: ArrowPrimitiveType>(
    array: &dyn Array,
    path: &str,
    widen: impl Fn(T::Native) -> f64,
) -> Result<Vec<Value>, Problem> {
    let number = |value: Option<T::Native>| match value.map(&widen) {
        None => Ok(Value::Null),
        Some(value) => Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| format!("its column `{path}` holds {value}, which JSON does not have")),
    };
    array.as_primitive::<T>().iter().map(number).collect()
}

fn structs(array: &StructArray, path: &str) -> Result<Vec<Value>, Problem> {
    let mut columns = Vec::with_capacity(array.num_columns());
    for (field, column) in array.fields().iter().zip(array.columns()) {
        let values = values(column, &below(path, field.name()))?;
        columns.push((field.name(), values.into_iter()));
    }
    let row = |row| {
        let mut object = Map::with_capacity(columns.len());
        for (name, column) in &mut columns {
            object.insert((*name).clone(), column.next().unwrap_or_default());
        }
        match array.is_null(row) {
            true => Value::Null,
            false => Value::Object(object),
        }
    };
    Ok((0..array.len()).map(row).collect())
}

fn lists<O: OffsetSizeTrait>(
    array: &dyn Array,
    list: &GenericListArray<O>,
    path: &str,
) -> Result<Vec<Value>, Problem> {
    let all = values(&covered(list.values(), list.value_offsets()), &items(path))?;
    Ok(deal(array, |row| list.value_length(row).as_usize(), all))
}

/// `[key, value]` for each entry of a map.
fn pairs(entries: &StructArray, path: &str) -> Result<Vec<Value>, Problem> {
    let mut columns = entries.columns().iter();
    let mut next = || match columns.next() {
        Some(column) => values(column, path),
        None => Ok(Vec::new()),
    };
    let (keys, values) = (next()?, next()?);
    let pair = |(key, value)| Value::Array(vec![key, value]);
    Ok(keys.into_iter().zip(values).map(pair).collect())
}

fn dictionary(array: &dyn Array, path: &str) -> Result<Vec<Value>, Problem> {
    let dictionary = array.as_any_dictionary();
    let entries = values(dictionary.values(), path)?;
    let entry = |key: Value| {
        let key = key.as_u64().and_then(|key| usize::try_from(key).ok());
        key.and_then(|key| entries.get(key)).cloned().unwrap_or_default()
    };
    Ok(values(dictionary.keys(), path)?.into_iter().map(entry).collect())
}

/// The part of the items that the lists cover: a list array may begin in the middle of its items.
fn covered<O: OffsetSizeTrait>(all: &dyn Array, offsets: &[O]) -> ArrayRef {
    let start = offsets.first().map_or(0, |offset| offset.as_usize());
    let end = offsets.last().map_or(start, |offset| offset.as_usize());
    all.slice(start, end - start)
}

/// Deals `all` out to the rows of `array`, which take `length` each; null rows drop theirs.
fn deal(array: &dyn Array, length: impl Fn(usize) -> usize, all: Vec<Value>) -> Vec<Value> {
    let mut all = all.into_iter();
    let row = |row| {
        let items = all.by_ref().take(length(row)).collect();
        match array.is_null(row) {
            true => Value::Null,
            false => Value::Array(items),
        }
    };
    (0..array.len()).map(row).collect()
}

fn below(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    }
}

fn items(path: &str) -> String {
    format!("{path}[]")
}
