//! What Python's `json` writes, and pyarrow reads, beyond JSON.

use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};
use smollm3_corpus::read::{self, Columns, Position, Replaced, RowProblem};

use super::{rows, values_of};

/// The text of one line, and how many halves of pairs were replaced in it.
fn text(line: &[u8]) -> Result<(String, u64), RowProblem> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, line).unwrap();
    let batch = read::open(&path, "a.jsonl", "text", Position::default())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = batch.text(0).map(Option::unwrap)?;
    Ok((text.to_string(), text.lone_surrogates))
}

/// `messages` of one line, and what was replaced in it.
fn messages(line: &str) -> Result<(Value, Replaced), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, line).unwrap();
    let mut batches = read::open_values(&path, "a.jsonl", &Columns::named(["messages"])).unwrap();
    let batch = batches.next().unwrap().map_err(|error| error.to_string())?;
    Ok((batch.rows[0]["messages"].clone(), batch.replaced(0)))
}

#[test]
fn other_fields_are_never_in_the_way() {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let digits = "7".repeat(400);
    let fields: [&[u8]; 11] = [
        b"NaN",
        b"-Infinity",
        b"[Infinity, {\"a\": NaN}]",
        b"1e400",
        b"-1E+999",
        digits.as_bytes(),
        b"\"cut \\ud83d\"",
        b"\"\\ude00 low\"",
        b"\"no UTF-8: \xff\xfe\"",
        deep.as_bytes(),
        b"{\"text\": null, \"messages\": 1}",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let read = Columns::named(["messages"]);
    for field in fields {
        let around = [
            [b"{\"x\": ", field, b", \"text\": \"t\", \"messages\": [\"m\"]}"].concat(),
            [b"{\"text\": \"t\", \"messages\": [\"m\"], \"x\":", field, b"}"].concat(),
        ];
        fs::write(&path, around.join(&b'\n')).unwrap();
        let texts: Vec<_> = rows(&path, Position::default())
            .into_iter()
            .map(|row| row.0)
            .collect();
        let line = String::from_utf8_lossy(&around[0]);
        assert_eq!(texts, vec![Ok(Some("t".to_owned())); 2], "{line}");
        for row in values_of(&path, &read).unwrap() {
            assert_eq!(row["messages"], json!(["m"]), "{line}");
            assert_eq!((&row["x"], &row["text"]), (&Value::Null, &Value::Null));
        }
    }
    // Keys too.
    assert_eq!(
        text(b"{\"\\ud83d\": 1, \"text\": \"t\"}").unwrap(),
        ("t".to_owned(), 0)
    );
}

#[test]
fn halves_of_pairs_in_text_are_replaced_and_counted() {
    for (line, expected, halves) in [
        (r#"{"text": "\ud83d\ude00 ok"}"#, "😀 ok", 0),
        (r#"{"text": "cut \ud83d"}"#, "cut \u{fffd}", 1),
        (
            r#"{"text": "\ude00 low \ud83d\ud83d\ude00"}"#,
            "\u{fffd} low \u{fffd}😀",
            2,
        ),
        (
            r#"{"text": "\uD83Dx \uFFFD \\ud83d"}"#,
            "\u{fffd}x \u{fffd} \\ud83d",
            1,
        ),
        (r#"{"text": "t", "x": "\ud83d"}"#, "t", 0),
        (
            r#"{"x": "\ud83d", "text": "\ufdd0 and \ud83d"}"#,
            "\u{fdd0} and \u{fffd}",
            1,
        ),
    ] {
        assert_eq!(
            text(line.as_bytes()).unwrap(),
            (expected.to_owned(), halves),
            "{line}"
        );
    }
    let line = r#"{"x": "\ud83d", "messages": [{"content": "cut \ud83d", "\udfff": "a"}]}"#;
    let (found, replaced) = messages(line).unwrap();
    assert_eq!(found, json!([{"content": "cut \u{fffd}", "\u{fffd}": "a"}]));
    assert_eq!((replaced.surrogates, replaced.numbers), (2, 0));
}

#[test]
fn numbers_that_json_lacks_are_null_where_they_are_read() {
    let line = r#"{"score": NaN, "messages": [{"content": "NaN \"Infinity", "p": NaN, "l": [-Infinity, 1e400, 2.5]}]}"#;
    let (found, replaced) = messages(line).unwrap();
    assert_eq!(
        found,
        json!([{"content": "NaN \"Infinity", "p": null, "l": [null, null, 2.5]}])
    );
    assert_eq!((replaced.surrogates, replaced.numbers), (0, 3));
    for number in ["NaN", "-Infinity", "1e400", "12"] {
        let line = format!("{{\"text\": {number}}}");
        assert_eq!(text(line.as_bytes()), Err(RowProblem::NotText("a number")));
    }
}

#[test]
fn what_python_refuses_is_refused() {
    for (line, problem) in [
        (r#"{"messages": NaNs}"#, "expected value at column 14"),
        (r#"{"messages": -NaN}"#, "invalid number at column 15"),
        (r#"{NaN: 1}"#, "key must be a string at column 2"),
        (
            r#"{"a": NaN, "messages": Infinity, "b": [1,]}"#,
            "expected value at column 42",
        ),
        ("{\"messages\": \"a\tb\"}", "control character"),
        (r#"{'messages': 1}"#, "key must be a string at column 2"),
        (r#"{"messages": 01}"#, "invalid number at column 15"),
        (r#"{"messages": "\x41"}"#, "invalid escape at column 16"),
        (r#"{"messages": "\ud83"}"#, "invalid escape"),
    ] {
        let message = messages(line).unwrap_err();
        assert!(message.contains("line 1 is not one JSON object"), "{message}");
        assert!(message.contains(problem), "{line}: {message}");
    }
    let deep = format!("{{\"messages\": {}{}}}", "[".repeat(200), "]".repeat(200));
    assert!(messages(&deep).unwrap_err().contains("nested more than 127 deep"));
    assert_eq!(
        text(b"{\"text\": \"\xff\", \"x\": NaN}"),
        Err(RowProblem::NotUtf8)
    );
}

#[test]
fn the_last_of_equal_keys_counts_as_in_python() {
    assert_eq!(
        text(br#"{"text": null, "text": "a", "text": "b"}"#).unwrap().0,
        "b"
    );
    let (found, _) = messages(r#"{"messages": [{"role": 1, "a": 2, "role": "user"}]}"#).unwrap();
    assert_eq!(found.to_string(), r#"[{"role":"user","a":2}]"#);
}

#[test]
fn marks_are_read_past_at_the_start_of_any_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    // Two files with marks, joined.
    fs::write(
        &path,
        "\u{feff}{\"text\": \"a\"}\n\u{feff}{\"text\": \"\u{feff}b\"}\n\u{feff}",
    )
    .unwrap();
    let texts: Vec<_> = rows(&path, Position::default())
        .into_iter()
        .map(|row| row.0.unwrap())
        .collect();
    assert_eq!(texts, [Some("a".to_owned()), Some("\u{feff}b".to_owned()), None]);
}

proptest! {
    /// Whatever else is in a line, mending never makes something of broken JSON, nor another value of the rest.
    #[test]
    fn mending_changes_nothing_else(texts in prop::collection::vec(".*", 1..4), cut in any::<prop::sample::Index>()) {
        let whole = json!({"messages": texts}).to_string();
        let line = format!("{{\"x\": [NaN, \"\\ud800\", 1e999], {}", &whole[1..]);
        let (found, replaced) = messages(&line).unwrap();
        prop_assert_eq!(found, json!(texts));
        prop_assert!(!replaced.any());
        let mut end = cut.index(line.len());
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        prop_assert!(end == 0 || messages(&line[..end]).is_err());
    }
}
