use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeListBuilder, Int64Builder, ListBuilder, MapBuilder, StringBuilder, StructBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int64Array, RecordBatch, StringViewArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Fields};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{values, write_batches};
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
         "scores": [["a", 1], ["b", null]], "pair": null, "kind": "x", "view": "a text longer than twelve bytes"},
        {"messages": null, "scores": null, "pair": [true, null], "kind": null, "view": null},
        {"messages": [], "scores": [["c", 3], ["d", 4]], "pair": null, "kind": "y", "view": ""},
        {"messages": [{"role": null, "content": null}], "scores": null, "pair": [false, true], "kind": "x",
         "view": "ü"},
    ]);
    assert_eq!(Value::Array(found.unwrap()).to_string(), expected.to_string());
}

#[test]
fn types_without_a_json_form_are_named() {
    let column =
        |column: ArrayRef| through_parquet(vec![("id", Arc::new(Int64Array::from(vec![1]))), ("x", column)]);
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]));
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("at", time.data_type().clone(), false)),
        time.clone(),
    )]);
    for (array, expected) in [
        (time, "its column `x` is Timestamp(µs), which has no JSON form"),
        (Arc::new(inner), "its column `x.at` is Timestamp(µs)"),
        (Arc::new(Date32Array::from(vec![0])), "its column `x` is Date32"),
        (
            Arc::new(Decimal128Array::from(vec![0])),
            "its column `x` is Decimal128(38, 10)",
        ),
        (
            Arc::new(BinaryArray::from(vec![&b"x"[..]])),
            "its column `x` is Binary",
        ),
        (
            Arc::new(Float64Array::from(vec![f64::NAN])),
            "its column `x` holds NaN, which JSON does not have",
        ),
        (
            Arc::new(Float32Array::from(vec![f32::INFINITY])),
            "its column `x` holds inf",
        ),
    ] as [(ArrayRef, &str); 7]
    {
        let message = column(array).unwrap_err();
        assert!(
            message.contains(expected) && message.contains("a.parquet"),
            "{message}"
        );
    }
    let mut nested = ListBuilder::new(arrow_array::builder::Date64Builder::new());
    nested.append_value([Some(1)]);
    let message = column(Arc::new(nested.finish())).unwrap_err();
    assert!(message.contains("its column `x[]` is Date64"), "{message}");
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
