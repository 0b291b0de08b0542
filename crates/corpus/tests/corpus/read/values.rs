use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use smollm3_corpus::cache::ShardCache;
use smollm3_corpus::read::{Columns, count_rows, open_values, rows_of};
use smollm3_corpus::shards::LocalShards;
use tempfile::TempDir;

use super::{values, write_batches};
use crate::remote::client;
use crate::rows::{gzip, zstd};
use crate::server::{Answer, Server};

/// The same lines plain, as gzip, as Zstandard.
fn three_ways(folder: &TempDir, lines: &[u8]) -> [PathBuf; 3] {
    [
        ("a.jsonl", lines.to_vec()),
        ("a.jsonl.gz", gzip(lines)),
        ("a.jsonl.zst", zstd(lines)),
    ]
    .map(|(name, bytes)| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    })
}

fn lines_of(rows: &[Value]) -> Vec<u8> {
    rows.iter()
        .flat_map(|row| format!("{row}\n").into_bytes())
        .collect()
}

fn ids(range: std::ops::Range<i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    RecordBatch::try_from_iter([("id", column)]).unwrap()
}

#[test]
fn lines_become_objects_whatever_the_compression() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "\u{feff}{\"z\": 1, \"a\": [{\"b\": null}, 1.5], \"n\": 18446744073709551615}\r\n\n \t\r\n  \
        {\"a\": 1, \"b\": 2, \"a\": \"😀\\n\"}\n{}";
    for path in three_ways(&folder, lines.as_bytes()) {
        let text: Vec<_> = values(&path).unwrap().iter().map(Value::to_string).collect();
        let expected = [
            r#"{"z":1,"a":[{"b":null},1.5],"n":18446744073709551615}"#,
            r#"{"a":"😀\n","b":2}"#,
            "{}",
        ];
        assert_eq!(text, expected, "{path:?}");
        let name = path.to_str().unwrap();
        let batch = open_values(&path, name, &Columns::All)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!([0, 1, 2].map(|row| batch.number(row)), [1, 4, 5]);
        assert_eq!(batch.place(1), format!("line 4 of `{name}`"));
    }
}

#[test]
fn long_files_come_in_batches_in_order() {
    let folder = tempfile::tempdir().unwrap();
    // 9 MB: three batches of lines.
    let rows: Vec<_> = (0..4_500)
        .map(|id| json!({"id": id, "text": "x".repeat(2_000)}))
        .collect();
    for path in three_ways(&folder, &lines_of(&rows)) {
        assert!(values(&path).unwrap() == rows, "{path:?}");
    }
    let path = folder.path().join("a.parquet");
    let groups = [0..1_500, 1_500..1_501, 1_501..1_501, 1_501..4_000].map(ids);
    write_batches(&path, &groups);
    let expected: Vec<_> = (0..4_000).map(|id| json!({"id": id})).collect();
    assert_eq!(values(&path).unwrap(), expected);
    for batch in open_values(&path, "a.parquet", &Columns::All).unwrap() {
        let batch = batch.unwrap();
        let id = batch.rows.last().and_then(|row| row["id"].as_u64()).unwrap();
        assert_eq!(
            batch.place(batch.rows.len() - 1),
            format!("row {} of `a.parquet`", id + 1)
        );
    }
}

#[test]
fn empty_files_have_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    for path in three_ways(&folder, b"") {
        assert_eq!(values(&path).unwrap(), [] as [Value; 0]);
    }
    for path in three_ways(&folder, b"\n \n\n") {
        assert_eq!(values(&path).unwrap(), [] as [Value; 0]);
    }
    let path = folder.path().join("a.parquet");
    write_batches(&path, &[ids(0..0)]);
    assert_eq!(values(&path).unwrap(), [] as [Value; 0]);
}

#[test]
fn a_broken_line_is_named_with_its_column() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], &str); 9] = [
        (
            b"{\"a\": \"cut",
            "is not one JSON object: EOF while parsing a string at column 10",
        ),
        (
            b"  {\"a\": tru}",
            "is not one JSON object: expected ident at column 12",
        ),
        (
            b"{\"a\": 1} {\"a\": 2}",
            "is not one JSON object: trailing characters at column 10; write one object a line (`jq -c . FILE` does)",
        ),
        (
            b"{\"a\": NaN, b}",
            "is not one JSON object: key must be a string at column 12",
        ),
        (
            b"{",
            "is not one JSON object: it runs over several lines; write each row on one line (`jq -c . FILE` does)",
        ),
        (b"[1, 2]", "is not one JSON object: it is a list"),
        (b"\"text\"", "is not one JSON object: it is text"),
        (b"null", "is not one JSON object: it is null"),
        (b"{\"a\": \"\xff\"}", "is not valid UTF-8"),
    ];
    for (line, expected) in cases {
        let lines = [b"{\"a\": 0}", &b""[..], line, b"{\"a\": 3}"].join(&b'\n');
        for path in three_ways(&folder, &lines) {
            let name = path.to_str().unwrap();
            let message = values(&path).unwrap_err();
            assert_eq!(message, format!("source `{name}`: line 3 {expected}"));
            let after = open_values(&path, name, &Columns::All)
                .unwrap()
                .skip_while(Result::is_ok)
                .count();
            assert_eq!(after, 1, "nothing comes after an error");
        }
    }
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..9_000).map(|id| json!({"id": id})).collect();
    for (path, expected) in three_ways(&folder, &lines_of(&rows)).iter().zip([
        "is not one JSON object: EOF",
        "damaged or cut short after line",
        "damaged or cut short after line",
    ]) {
        let whole = fs::read(path).unwrap();
        fs::write(path, &whole[..whole.len() - 3]).unwrap();
        let message = values(path).unwrap_err();
        assert!(
            message.contains(expected) && message.contains("a.jsonl"),
            "{message}"
        );
    }
    let path = folder.path().join("a.parquet");
    fs::write(&path, b"PAR1 but no more").unwrap();
    let message = values(&path).unwrap_err();
    assert!(
        message.contains("a.parquet`: not a readable Parquet file"),
        "{message}"
    );
    assert!(
        count_rows(&path, "a.parquet")
            .unwrap_err()
            .to_string()
            .contains("not a readable")
    );
    assert!(
        values(&folder.path().join("a.csv"))
            .unwrap_err()
            .contains("does not tell the format")
    );
    assert!(
        values(&folder.path().join("b.jsonl"))
            .unwrap_err()
            .contains("cannot open")
    );
}

#[test]
fn the_files_of_a_source_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.jsonl"), "{\"id\": 0}\n\n{\"id\": 1}\n").unwrap();
    fs::write(path("b.jsonl"), "").unwrap();
    write_batches(&path("c.parquet"), &[ids(2..4)]);
    fs::write(path("d.jsonl.gz"), gzip(b"{\"id\": 4}\nbroken\n")).unwrap();
    fs::write(path("e.jsonl"), "{\"id\": 5}\n").unwrap();
    let find = || LocalShards::find("s", &[folder.path().to_string_lossy()]).unwrap();
    let files = find();
    let (mut places, mut errors) = (Vec::new(), Vec::new());
    for batch in rows_of(&files, &Columns::All) {
        match batch {
            Ok(batch) => places.extend((0..batch.rows.len()).map(|row| batch.place(row))),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let place = |unit: &str, name: &str| format!("{unit} of `{}`", path(name).display());
    assert_eq!(
        places,
        [
            place("line 1", "a.jsonl"),
            place("line 3", "a.jsonl"),
            place("row 1", "c.parquet"),
            place("row 2", "c.parquet"),
        ]
    );
    assert_eq!(errors.len(), 1, "the first error is the last item");
    assert!(
        errors[0].contains("d.jsonl.gz`: line 2 is not one JSON object"),
        "{}",
        errors[0]
    );

    fs::write(path("d.jsonl.gz"), gzip(b"{\"id\": 4}\n")).unwrap();
    let files = find();
    let rows: Vec<_> = rows_of(&files, &Columns::All)
        .flat_map(|batch| batch.unwrap().rows)
        .collect();
    assert_eq!(rows, (0..6).map(|id| json!({"id": id})).collect::<Vec<_>>());
}

#[test]
fn remote_files_come_through_the_cache() {
    let server = Server::start(|request, _| {
        let number = request.path.trim_matches(|c: char| !c.is_ascii_digit());
        Answer::ranged(format!("{{\"id\": {number}}}\n").as_bytes(), request)
    });
    let folder = tempfile::tempdir().unwrap();
    let client = client(&[]);
    let addresses = [0, 1, 2].map(|number| format!("{}/{number}.jsonl", server.address));
    let files = client.list("web", &addresses, &|_| true).unwrap();
    // Room for two of the three.
    let cache = ShardCache::open("web", folder.path(), 25, files, client).unwrap();
    for _ in 0..2 {
        let rows: Vec<_> = rows_of(&cache, &Columns::All)
            .flat_map(|batch| batch.unwrap().rows)
            .collect();
        assert_eq!(rows, [json!({"id": 0}), json!({"id": 1}), json!({"id": 2})]);
    }
}

/// Any JSON, floats and deep nesting included.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::vec((any::<String>(), any_value()), 0..5)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
}

/// A conversation as fine-tuning sets have it: turns, a system prompt, whether to think.
type Turns = Option<Vec<Option<(Option<String>, Option<String>)>>>;
type Conversation = (Turns, Option<(Option<String>, Option<bool>)>, Option<String>);

fn as_json((turns, options, prompt): &Conversation) -> Value {
    let turn = |(role, content): &(_, _)| json!({"role": role, "content": content});
    let turns = turns
        .as_ref()
        .map(|turns| turns.iter().map(|t| t.as_ref().map(turn)).collect::<Vec<_>>());
    let options = options
        .as_ref()
        .map(|(system, think)| json!({"system": system, "think": think}));
    json!({"messages": turns, "chat_template_kwargs": options, "prompt": prompt})
}

fn as_arrow(rows: &[Conversation]) -> RecordBatch {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let turn = Fields::from(vec![text("role"), text("content")]);
    let option = Fields::from(vec![text("system"), Field::new("think", DataType::Boolean, true)]);
    let mut turns = ListBuilder::new(StructBuilder::from_fields(turn, 0));
    let mut options = StructBuilder::from_fields(option, 0);
    for (row, option, _) in rows {
        for turn in row.iter().flatten() {
            let (role, content) = turn.clone().unwrap_or_default();
            let builder = turns.values();
            builder
                .field_builder::<StringBuilder>(0)
                .unwrap()
                .append_option(role);
            builder
                .field_builder::<StringBuilder>(1)
                .unwrap()
                .append_option(content);
            builder.append(turn.is_some());
        }
        turns.append(row.is_some());
        let (system, think) = option.clone().unwrap_or_default();
        options
            .field_builder::<StringBuilder>(0)
            .unwrap()
            .append_option(system);
        options
            .field_builder::<BooleanBuilder>(1)
            .unwrap()
            .append_option(think);
        options.append(option.is_some());
    }
    let options: StructArray = options.finish();
    let prompts: StringArray = rows.iter().map(|row| row.2.as_deref()).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("messages", Arc::new(turns.finish()) as ArrayRef, true),
        ("chat_template_kwargs", Arc::new(options), true),
        ("prompt", Arc::new(prompts), true),
    ])
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_objects_are_read_back(rows in prop::collection::vec(any_object(), 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        for path in three_ways(&folder, &lines_of(&rows)) {
            prop_assert_eq!(&values(&path).unwrap(), &rows);
        }
    }

    #[test]
    fn lines_and_parquet_give_the_same(
        rows in prop::collection::vec(any::<Conversation>(), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let (one, two) = rows.split_at(cut.index(rows.len()));
        write_batches(&path, &[as_arrow(one), as_arrow(two)]);
        let expected: Vec<_> = rows.iter().map(as_json).collect();
        let found = values(&path).unwrap();
        prop_assert_eq!(&found, &expected);
        for path in three_ways(&folder, &lines_of(&expected)) {
            prop_assert_eq!(&values(&path).unwrap(), &found);
        }
    }

    /// Whatever the bytes, reading ends without a panic, in rows or in one error.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        for path in three_ways(&folder, &bytes) {
            let _ = values(&path);
        }
    }
}
