//! Arrow arrays as JSON values: the same as from JSON lines, with null for absent fields.
//!
//! Rejected: the `arrow-json` crate, which writes text to be parsed again.
//!
//! Structs keep all fields in the order of the schema, absent ones as null: the file does not say which of them a row had.
//! `float32` widens to the nearest `f64`, as in Python. For the mapping of types see [`super::open_values`].

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::{as_date, as_datetime, as_time};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch, StructArray};
use arrow_schema::{DataType, Fields, TimeUnit};
use serde_json::{Map, Number, Value};

use super::{Columns, Replaced};

/// Why a schema or a value has no JSON form, with its column's path.
type Problem = String;

/// Placeholder for a number that JSON cannot represent, until [`rows`] counts those of each row. These are noncharacters of
/// Unicode, so no text consists of them alone.
const NO_NUMBER: &str = "\u{fdd0}\u{fdd1}";

/// Decimals of at most this many digits survive the conversion to a float.
const FLOAT_DIGITS: usize = 15;

/// Whether all of `columns` have a JSON form.
///
/// # Errors
/// The first column that has none, with its path and type, or two columns of one name.
pub(super) fn check(fields: &Fields, columns: &Columns) -> Result<(), Problem> {
    let read = fields.iter().filter(|field| columns.holds(field.name()));
    check_fields(&read.cloned().collect(), "")
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
        | DataType::Binary
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::Time32(TimeUnit::Millisecond)
        | DataType::Time64(_)
        | DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Ok(()),
        kind if kind.is_integer() || kind.is_floating() => Ok(()),
        DataType::Struct(fields) => check_fields(fields, path),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            check_type(item.data_type(), &items(path))
        }
        DataType::Map(entries, _) => check_type(entries.data_type(), path),
        other => Err(no_form(other, path)),
    }
}

fn no_form(kind: &DataType, path: &str) -> Problem {
    format!("its column `{path}` is {kind}, which has no JSON form; store it as text or a number")
}

/// Rows, and what was replaced in which of them.
pub(super) type Replacing = (Vec<Value>, Vec<(usize, Replaced)>);

/// The rows of `batch` as objects with all `fields`; those that the batch does not have are null.
///
/// # Errors
/// A value that has no form in JSON, with the path of its column.
pub(super) fn rows(batch: &RecordBatch, fields: &Fields) -> Result<Replacing, Problem> {
    let mut columns = Vec::with_capacity(fields.len());
    let mut has_floats = false;
    for field in fields {
        let values = match batch.column_by_name(field.name()) {
            Some(column) => {
                has_floats |= holds_floats(column.data_type());
                values(column, field.name())?
            }
            None => Vec::new(),
        };
        columns.push((field.name(), values.into_iter()));
    }
    let (mut rows, mut replaced) = (Vec::with_capacity(batch.num_rows()), Vec::new());
    for index in 0..batch.num_rows() {
        let mut row = Map::with_capacity(columns.len());
        for (name, values) in &mut columns {
            row.insert((*name).clone(), values.next().unwrap_or_default());
        }
        let mut row = Value::Object(row);
        let numbers = if has_floats { without_numbers(&mut row) } else { 0 };
        if numbers > 0 {
            let surrogates = 0;
            replaced.push((index, Replaced { surrogates, numbers }));
        }
        rows.push(row);
    }
    Ok((rows, replaced))
}

fn holds_floats(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().any(|field| holds_floats(field.data_type())),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_floats(item.data_type())
        }
        DataType::Map(entries, _) => holds_floats(entries.data_type()),
        kind => kind.is_floating(),
    }
}

/// Replaces each [`NO_NUMBER`] by null and counts them.
fn without_numbers(value: &mut Value) -> u64 {
    match value {
        Value::String(text) if text == NO_NUMBER => {
            *value = Value::Null;
            1
        }
        Value::Array(items) => items.iter_mut().map(without_numbers).sum(),
        Value::Object(fields) => fields.values_mut().map(without_numbers).sum(),
        _ => 0,
    }
}

/// One value per row. Nested arrays are converted as a whole and then distributed to the rows.
fn values(array: &dyn Array, path: &str) -> Result<Vec<Value>, Problem> {
    match array.data_type() {
        DataType::Null => Ok(vec![Value::Null; array.len()]),
        DataType::Boolean => Ok(array.as_boolean().iter().map(Value::from).collect()),
        DataType::Binary => texts(array.as_binary::<i32>().iter(), path),
        DataType::FixedSizeBinary(_) => texts(array.as_fixed_size_binary().iter(), path),
        DataType::Int8 => Ok(integers::<Int8Type>(array)),
        DataType::Int16 => Ok(integers::<Int16Type>(array)),
        DataType::Int32 => Ok(integers::<Int32Type>(array)),
        DataType::Int64 => Ok(integers::<Int64Type>(array)),
        DataType::UInt8 => Ok(integers::<UInt8Type>(array)),
        DataType::UInt16 => Ok(integers::<UInt16Type>(array)),
        DataType::UInt32 => Ok(integers::<UInt32Type>(array)),
        DataType::UInt64 => Ok(integers::<UInt64Type>(array)),
        DataType::Float16 => Ok(floats::<Float16Type>(array, |value| value.to_f64())),
        DataType::Float32 => Ok(floats::<Float32Type>(array, f64::from)),
        DataType::Float64 => Ok(floats::<Float64Type>(array, |value| value)),
        DataType::Decimal128(..) => Ok(decimals::<Decimal128Type>(array)),
        DataType::Decimal256(..) => Ok(decimals::<Decimal256Type>(array)),
        DataType::Date32 => printed::<Date32Type, _>(array, path, as_date::<Date32Type>),
        DataType::Time32(_) => {
            printed::<Time32MillisecondType, _>(array, path, as_time::<Time32MillisecondType>)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            printed::<Time64NanosecondType, _>(array, path, as_time::<Time64NanosecondType>)
        }
        DataType::Time64(_) => {
            printed::<Time64MicrosecondType, _>(array, path, as_time::<Time64MicrosecondType>)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            moments::<TimestampNanosecondType>(array, path, zone.is_some())
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            moments::<TimestampMicrosecondType>(array, path, zone.is_some())
        }
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            moments::<TimestampMillisecondType>(array, path, zone.is_some())
        }
        DataType::Struct(_) => structs(array.as_struct(), path),
        DataType::List(_) => lists(array, array.as_list::<i32>(), path),
        DataType::LargeList(_) => lists(array, array.as_list::<i64>(), path),
        DataType::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).unwrap_or(0);
            let all = values(array.as_fixed_size_list().values(), &items(path))?;
            Ok(deal(array, |_| length, all))
        }
        DataType::Map(_, _) => maps(array.as_map(), path),
        other => Err(no_form(other, path)),
    }
}

/// Bytes that are text.
fn texts<'a>(all: impl Iterator<Item = Option<&'a [u8]>>, path: &str) -> Result<Vec<Value>, Problem> {
    let text = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
        None => Ok(Value::Null),
        Some(Ok(text)) => Ok(Value::from(text)),
        Some(Err(_)) => Err(format!("its column `{path}` holds bytes that are not text")),
    };
    all.map(text).collect()
}

fn integers<T>(array: &dyn Array) -> Vec<Value>
where
    T: ArrowPrimitiveType,
    Value: From<T::Native>,
{
    let integer = |value: Option<T::Native>| value.map_or(Value::Null, Value::from);
    array.as_primitive::<T>().iter().map(integer).collect()
}

fn floats<T: ArrowPrimitiveType>(array: &dyn Array, widen: impl Fn(T::Native) -> f64) -> Vec<Value> {
    let number = |value: Option<T::Native>| match value.map(&widen) {
        None => Value::Null,
        Some(value) => Number::from_f64(value).map_or_else(|| Value::from(NO_NUMBER), Value::Number),
    };
    array.as_primitive::<T>().iter().map(number).collect()
}

fn decimals<T: DecimalType + ArrowPrimitiveType>(array: &dyn Array) -> Vec<Value> {
    let array = array.as_primitive::<T>();
    let decimal = |row| match array.is_null(row) {
        true => Value::Null,
        false => decimal(array.value_as_string(row)),
    };
    (0..array.len()).map(decimal).collect()
}

/// A number, or text if a float would lose digits.
fn decimal(text: String) -> Value {
    if let Ok(integer) = text.parse::<i64>() {
        return Value::from(integer);
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let float = text.parse().ok().filter(|_| digits <= FLOAT_DIGITS);
    match float.and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text),
    }
}

/// Values as text; those outside the calendar are errors.
fn printed<T: ArrowPrimitiveType<Native: Into<i64>>, P: ToString>(
    array: &dyn Array,
    path: &str,
    read: impl Fn(i64) -> Option<P>,
) -> Result<Vec<Value>, Problem> {
    let value = |value: Option<T::Native>| match value.map(Into::into) {
        None => Ok(Value::Null),
        Some(value) => read(value)
            .map(|read| Value::String(read.to_string()))
            .ok_or_else(|| format!("its column `{path}` holds {value}, which is not a time")),
    };
    array.as_primitive::<T>().iter().map(value).collect()
}

/// Timestamps as Python prints them; those with a time zone are stored in UTC.
fn moments<T: ArrowPrimitiveType<Native = i64>>(
    array: &dyn Array,
    path: &str,
    has_zone: bool,
) -> Result<Vec<Value>, Problem> {
    let zone = if has_zone { "+00:00" } else { "" };
    printed::<T, _>(array, path, |value| {
        let moment = as_datetime::<T>(value)?;
        let form = match moment.and_utc().timestamp_subsec_nanos() {
            0 => "%Y-%m-%d %H:%M:%S",
            nanos if nanos % 1000 == 0 => "%Y-%m-%d %H:%M:%S%.6f",
            _ => "%Y-%m-%d %H:%M:%S%.9f",
        };
        Some(format!("{}{zone}", moment.format(form)))
    })
}

/// Structs below the columns.
fn structs(array: &StructArray, path: &str) -> Result<Vec<Value>, Problem> {
    let mut columns = Vec::with_capacity(array.num_columns());
    // Images and sounds as the library datasets has them: bytes beside a path. Whether there is one is all that rows tell.
    let is_media = array.column_by_name("path").is_some();
    let is_content = |name: &str, kind: &DataType| is_media && name == "bytes" && *kind == DataType::Binary;
    for (field, column) in array.fields().iter().zip(array.columns()) {
        if is_content(field.name(), field.data_type()) {
            continue;
        }
        let values = values(column, &below(path, field.name()))?;
        columns.push((field.name(), values.into_iter()));
    }
    let row = |row| {
        let entries = columns.iter_mut();
        let object = entries
            .map(|(name, column)| ((*name).clone(), column.next().unwrap_or_default()))
            .collect();
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

/// Objects if all keys are text, else lists of `[key, value]`.
fn maps(map: &MapArray, path: &str) -> Result<Vec<Value>, Problem> {
    let entries = covered(map.entries(), map.value_offsets());
    let mut columns = entries.as_struct().columns().iter();
    let mut next = || match columns.next() {
        Some(column) => values(column, path),
        None => Ok(Vec::new()),
    };
    let (keys, values) = (next()?, next()?);
    let of_text = keys.iter().all(Value::is_string);
    let pair = |(key, value)| Value::Array(vec![key, value]);
    let pairs = keys.into_iter().zip(values).map(pair).collect();
    let length = |row| usize::try_from(map.value_length(row)).unwrap_or(0);
    let rows = deal(map, length, pairs);
    Ok(match of_text {
        true => rows.into_iter().map(object).collect(),
        false => rows,
    })
}

/// The object with these `[key, value]`.
fn object(pairs: Value) -> Value {
    let Value::Array(pairs) = pairs else {
        return pairs;
    };
    let entry = |mut pair: Value| match (pair[0].take(), pair[1].take()) {
        (Value::String(key), value) => Some((key, value)),
        _ => None,
    };
    Value::Object(pairs.into_iter().filter_map(entry).collect())
}

/// The items that the lists cover: a sliced list array may start in the middle of its items.
fn covered<O: OffsetSizeTrait>(all: &dyn Array, offsets: &[O]) -> ArrayRef {
    let start = offsets.first().map_or(0, |offset| offset.as_usize());
    let end = offsets.last().map_or(start, |offset| offset.as_usize());
    all.slice(start, end - start)
}

/// Distributes `all` to the rows of `array`, `length` each; null rows drop theirs.
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
