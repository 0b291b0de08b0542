use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeListBuilder, Int64Builder, ListBuilder, MapBuilder, StringBuilder, StructBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringViewArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Fields};
use proptest::prelude::*;
use serde_json::{Value, json};
use smollm3_corpus::read::{self, Columns, Position};

use super::{values, values_of, write_batches};
use crate::fixtures;

/// The rows of a Parquet file with these columns.
fn through_parquet(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write_batches(
        &path,
        &[RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap()],
    );
    values(&path)
}

#[test]
fn rows_are_what_pyarrow_gives() {
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(fixtures::rows("nested.json")).unwrap()).unwrap();
    let found = Value::Array(values(&fixtures::rows("nested.parquet")).unwrap());
    // As text too: `==` knows neither the order of keys nor 1 from 1.0 in it.
    assert_eq!(found, expected);
    assert_eq!(found.to_string(), expected.to_string());
}

#[test]
fn nested_nulls_stay_where_they_are() {
    let fields = Fields::from(vec![
        Field::new("role", DataType::Utf8, true),
        Field::new("content", DataType::Utf8, true),
    ]);
    let mut messages = ListBuilder::new(StructBuilder::from_fields(fields, 0));
    let turn = |list: &mut ListBuilder<StructBuilder>, turn: Option<[Option<&str>; 2]>| {
        let builder = list.values();
        for (index, text) in turn.unwrap_or_default().into_iter().enumerate() {
            builder
                .field_builder::<StringBuilder>(index)
                .unwrap()
                .append_option(text);
        }
        builder.append(turn.is_some());
    };
    turn(&mut messages, Some([Some("user"), Some("hi")]));
    turn(&mut messages, Some([Some("assistant"), None]));
    turn(&mut messages, None);
    messages.append(true);
    messages.append(false);
    messages.append(true);
    turn(&mut messages, Some([None, None]));
    messages.append(true);

    let mut scores = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for row in [
        Some([("a", Some(1)), ("b", None)]),
        None,
        Some([("c", Some(3)), ("d", Some(4))]),
        None,
    ] {
        for (key, value) in row.into_iter().flatten() {
            scores.keys().append_value(key);
            scores.values().append_option(value);
        }
        scores.append(row.is_some()).unwrap();
    }
    let mut pair = FixedSizeListBuilder::new(BooleanBuilder::new(), 2);
    for row in [
        None,
        Some([Some(true), None]),
        None,
        Some([Some(false), Some(true)]),
    ] {
        row.unwrap_or_default()
            .into_iter()
            .for_each(|value| pair.values().append_option(value));
        pair.append(row.is_some());
    }
    let kinds: DictionaryArray<Int32Type> = [Some("x"), None, Some("y"), Some("x")].into_iter().collect();
    let views = StringViewArray::from(vec![
        Some("a text longer than twelve bytes"),
        None,
        Some(""),
        Some("ü"),
    ]);

    let found = through_parquet(vec![
        ("messages", Arc::new(messages.finish())),
        ("scores", Arc::new(scores.finish())),
        ("pair", Arc::new(pair.finish())),
        ("kind", Arc::new(kinds)),
        ("view", Arc::new(views)),
    ]);
    let expected = json!([
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": null}, null],
         "scores": {"a": 1, "b": null}, "pair": null, "kind": "x", "view": "a text longer than twelve bytes"},
        {"messages": null, "scores": null, "pair": [true, null], "kind": null, "view": null},
        {"messages": [], "scores": {"c": 3, "d": 4}, "pair": null, "kind": "y", "view": ""},
        {"messages": [{"role": null, "content": null}], "scores": null, "pair": [false, true], "kind": "x",
         "view": "ü"},
    ]);
    assert_eq!(Value::Array(found.unwrap()).to_string(), expected.to_string());
}

/// Columns of `types.parquet` in which the second row is null, and their first value.
fn printed() -> Value {
    json!({
        "stamp": "2024-02-29 12:30:15.250000", "stamp_zone": "2024-02-29 12:30:15.250000+00:00",
        "date": "2024-02-29", "time": "12:30:15", "time_us": "12:30:15.000005",
        "decimal": 1.5, "whole": 12, "long": "12345678901234567890.12", "wide": -0.5,
        "bytes": "é", "fixed": "abcd", "view": "a text longer than twelve bytes", "large": "x", "half": 0.5,
        "duration": 1_000_000, "map": {"a": 1, "b": null}, "numbered": [[1, "a"]], "nothing": null,
    })
}

#[test]
fn every_type_becomes_what_python_prints() {
    let expected = printed();
    let columns = expected.as_object().unwrap();
    let read = Columns::named(columns.keys().chain([&"stamp_ns".to_owned()]));
    let rows = values_of(&fixtures::rows("types.parquet"), &read).unwrap();
    for (name, value) in columns {
        assert_eq!(rows[0][name], *value, "{name}");
        assert_eq!(rows[1][name], Value::Null, "{name}");
    }
    assert_eq!(rows[0]["stamp_ns"], "1970-01-01 00:00:00.000000001");
    assert_eq!(rows[1]["stamp_ns"], "1970-01-01 00:00:00");
}

#[test]
fn columns_that_nobody_reads_are_never_in_the_way() {
    let path = fixtures::rows("types.parquet");
    let rows = values_of(&path, &Columns::named(["text", "absent"])).unwrap();
    // Their names stay, for messages.
    assert_eq!(rows[1].as_object().unwrap().len(), 24);
    for (row, text) in rows.iter().zip(["a", "b"]) {
        let columns = row.as_object().unwrap().iter();
        let present: Vec<_> = columns.filter(|(_, value)| !value.is_null()).collect();
        assert_eq!(present, [(&"text".to_owned(), &json!(text))]);
    }
    assert_eq!(values_of(&path, &Columns::named(["absent"])).unwrap().len(), 2);
    assert_eq!(super::texts(&path, Position::default()), ["a", "b"]);
}

#[test]
fn what_has_no_form_is_named_where_it_is_read() {
    let path = fixtures::rows("types.parquet");
    let message = values_of(&path, &Columns::named(["nested"])).unwrap_err();
    let problem = "its column `nested[].raw` holds bytes that are not text";
    assert!(
        message.contains(problem) && message.contains("types.parquet"),
        "{message}"
    );
    // Bytes of an image are not read; whether there is one is.
    let rows = values_of(&path, &Columns::named(["image"])).unwrap();
    assert!(rows[0]["image"].is_object() && rows[0]["image"].get("bytes").is_none());
    let intervals: ArrayRef = Arc::new(arrow_array::IntervalDayTimeArray::from(vec![None; 1]));
    let message = through_parquet(vec![("x", intervals)]).unwrap_err();
    assert!(
        message.contains("its column `x` is Interval(DayTime), which has no JSON form"),
        "{message}"
    );
}

#[test]
fn numbers_that_json_lacks_are_null_and_counted() {
    let path = fixtures::rows("types.parquet");
    let mut batches = read::open_values(&path, "a.parquet", &Columns::named(["nan", "half"])).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert_eq!(batch.rows[0]["nan"], Value::Null);
    assert_eq!([0, 1].map(|row| batch.replaced(row).numbers), [1, 1]);
    let mut batches = read::open_values(&path, "a.parquet", &Columns::named(["half"])).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert!(!batch.replaced(0).any());
}

#[test]
fn encrypted_files_are_named() {
    let message = values(&fixtures::rows("encrypted.parquet")).unwrap_err();
    assert!(
        message.contains("encrypted.parquet") && message.contains("encrypt"),
        "{message}"
    );
    // A secret column beside the text is not in the way.
    let path = fixtures::rows("encrypted-column.parquet");
    assert_eq!(super::texts(&path, Position::default()), ["a", "b"]);
    let message = values_of(&path, &Columns::named(["secret"])).unwrap_err();
    assert!(message.contains("encrypted-column.parquet"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn numbers_keep_every_digit(rows in prop::collection::vec(
        (any::<Option<i64>>(), any::<Option<u64>>(), prop::option::of(-1e300..1e300f64)), 1..50,
    )) {
        let found = through_parquet(vec![
            ("i", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>())),
            ("u", Arc::new(rows.iter().map(|row| row.1).collect::<UInt64Array>())),
            ("f", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
        ]);
        let expected: Vec<_> = rows.iter().map(|(i, u, f)| json!({"i": i, "u": u, "f": f})).collect();
        prop_assert_eq!(found.unwrap(), expected);
    }
}
