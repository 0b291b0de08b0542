//! Damaged `tokenizer.json` files are refused by name, or used; they never bring the program down.

use std::fs;

use serde_json::{Value, json};
use smollm3_corpus::Tokenizer;

use crate::fixtures::datatrove;

/// One component of every kind that a loader takes apart.
fn whole() -> Value {
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "</s>",
        },
        "added_tokens": [
            {"id": 5, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
             "special": true},
            {"id": 6, "content": "<x>", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true,
             "special": false},
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "z+"}, "content": "a"},
            {"type": "Prepend", "prepend": "a"},
            {"type": "Strip", "strip_left": false, "strip_right": false},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": false},
            {"type": "FixedLength", "length": 4},
            {"type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "split": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [5], "tokens": ["</s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            {"type": "Strip", "content": "b", "start": 0, "stop": 1},
            {"type": "Replace", "pattern": {"String": "q"}, "content": "a"},
            {"type": "Fuse"},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "ab": 2, "_": 3, "c": 4}, "merges": [["a", "b"]],
        },
    })
}

/// Values that may stand in the place of another.
fn odd() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(1e308),
        json!(4_294_967_295_u32),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("x"),
        json!("Precompiled"),
        json!("(["),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "FixedLength", "length": 0}),
        json!({"type": "Strip", "content": "a", "start": 9, "stop": 9}),
    ]
}

/// The JSON pointers of every value, and of the fields of every object.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, value)| (i.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        pointers(child, &format!("{at}/{key}"), all);
    }
}

/// Loads and uses a file; what fails must fail by an error with the file's name.
#[track_caller]
fn survives(folder: &std::path::Path, json: &[u8]) -> bool {
    let path = folder.join("tokenizer.json");
    fs::write(&path, json).unwrap();
    let named = |error: smollm3_corpus::CorpusError| {
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    };
    let tokenizer = match Tokenizer::load(&path) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            named(error);
            return false;
        }
    };
    for text in ["", "ab abc </s> <x> zz é", "<x><x>"] {
        let _ = tokenizer
            .encode(text)
            .and_then(|ids| tokenizer.with_added(ids))
            .map_err(named);
        for special in [None, Some(&[][..])] {
            let _ = tokenizer.encode_spans(text, special).map_err(named);
        }
    }
    for skip in [false, true] {
        let _ = tokenizer
            .decode(&[0, 1, 2, 3, 4, 5, 6, 7, u32::MAX], skip)
            .map_err(named);
    }
    true
}

#[test]
fn any_field_may_hold_anything() {
    let folder = tempfile::tempdir().unwrap();
    let whole = whole();
    assert!(survives(folder.path(), whole.to_string().as_bytes()));
    let mut all = Vec::new();
    pointers(&whole, "", &mut all);
    assert!(all.len() > 100, "{}", all.len());
    let mut refused = 0;
    for pointer in &all {
        for value in odd() {
            let mut damaged = whole.clone();
            *damaged.pointer_mut(pointer).unwrap() = value;
            refused += u32::from(!survives(folder.path(), damaged.to_string().as_bytes()));
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
        let mut damaged = whole.clone();
        if let Some(Value::Object(fields)) = damaged.pointer_mut(parent) {
            fields.remove(&key.replace("~1", "/"));
            survives(folder.path(), damaged.to_string().as_bytes());
        }
    }
    assert!(refused > 500, "{refused}");
}

/// As a download that was interrupted leaves it: most of all inside the decoder.
#[test]
fn a_file_may_end_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let json = whole().to_string();
    for end in 0..json.len() {
        assert!(!survives(folder.path(), &json.as_bytes()[..end]), "{end}");
    }
}

#[test]
fn what_is_wrong_with_a_decoder_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut damaged = whole();
    damaged["decoder"] = json!("ByteLevel");
    fs::write(&path, damaged.to_string()).unwrap();
    let error = Tokenizer::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer.json`: not a tokenizer.json: its decoder is not a JSON object"),
        "{error}"
    );
}

/// transformers does neither unless it is asked to.
#[test]
fn texts_are_not_cut_or_filled_as_the_file_says() {
    let mut long: Value = serde_json::from_slice(&fs::read(datatrove("tokenizer.json")).unwrap()).unwrap();
    let load = |json: &Value| Tokenizer::from_json("t", json.to_string().as_bytes()).unwrap();
    let text = "one two three four five six";
    let expected = load(&long).encode(text).unwrap();
    assert!(expected.len() > 2);
    long["truncation"] = whole()["truncation"].clone();
    long["padding"] = whole()["padding"].clone();
    assert_eq!(load(&long).encode(text).unwrap(), expected);
}
