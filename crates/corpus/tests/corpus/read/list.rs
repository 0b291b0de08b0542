use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};
use smollm3_corpus::read::{Columns, Position, open_values};

use super::{error, rows, texts, values};
use crate::rows::gzip;

#[test]
fn a_list_of_rows_is_read_however_it_is_spaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    let expected = [
        json!({"text": "a, ]\"[", "n": [1, {"b": []}]}),
        json!({"text": "ü"}),
    ];
    let pretty = serde_json::to_string_pretty(&expected).unwrap();
    for text in [
        json!(expected).to_string(),
        format!("\u{feff}\r\n {pretty}\r\n\n"),
        pretty.replace('\n', "\r\n"),
    ] {
        fs::write(&path, &text).unwrap();
        assert_eq!(values(&path).unwrap(), expected, "{text}");
        assert_eq!(texts(&path, Position::default()), ["a, ]\"[", "ü"]);
        fs::write(folder.path().join("b.json.gz"), gzip(text.as_bytes())).unwrap();
        assert_eq!(values(&folder.path().join("b.json.gz")).unwrap(), expected);
    }
    let batch = open_values(&path, "a.json", &Columns::All)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(batch.place(1), "row 2 of `a.json`");
    for empty in ["[]", " [ \n ]\n"] {
        fs::write(&path, empty).unwrap();
        assert_eq!(values(&path).unwrap(), [] as [Value; 0]);
    }
}

#[test]
fn a_long_list_comes_in_batches_and_can_be_entered_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    let expected: Vec<String> = (0..11).map(|i| format!("{i}\\\"]").repeat(200_000)).collect();
    let list: Value = expected.iter().map(|text| json!({"text": text})).collect();
    fs::write(&path, serde_json::to_string_pretty(&list).unwrap()).unwrap();
    let all = rows(&path, Position::default());
    assert_eq!(all.len(), 11);
    for (row, (_, end)) in all.iter().enumerate() {
        assert!(texts(&path, *end) == expected[row + 1..], "after row {row}");
    }
}

#[test]
fn what_is_wrong_with_a_list_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    for (text, problem) in [
        (
            "[{\"text\": \"a\"}, {\"text\"",
            "damaged or cut short after row 1: its list has no end",
        ),
        ("[{\"text\": \"a\"}", "its list has no end"),
        ("[{\"text\": \"a\"}]\n[1]", "something follows its list"),
        (
            "[{\"text\": \"a\"} {\"text\": \"b\"}]",
            "row 1 is not one JSON object: trailing characters",
        ),
        (
            "[{\"text\": \"a\"}, 3]",
            "row 2 is not one JSON object: it is a number",
        ),
        (
            "[{\"text\": \"a\"},\n {\"text\":\n tru}]",
            "row 2 is not one JSON object: expected ident in its line 2",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let message = values(&path).unwrap_err();
        assert!(
            message.contains(problem) && message.contains("a.json"),
            "{message}"
        );
    }
    fs::write(&path, "[{\"text\": \"a\"}").unwrap();
    assert!(error(&path).contains("its list has no end"));
}

proptest! {
    /// Whatever the bytes, reading ends without a panic.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(prop_oneof![
        any::<u8>(), prop::sample::select(b"[]{},\"\\ 1".to_vec()),
    ], 0..100)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, [b"[", &bytes[..]].concat()).unwrap();
        let _ = values(&path);
    }
}
