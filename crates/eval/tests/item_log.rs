//! The log of an evaluation: kept, gone on with, refused.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use smollm3_eval::{EvalError, ItemLog};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Outcome {
    value: f64,
}

fn settings(limit: u64) -> Map<String, Value> {
    json!({"suite": "x", "limit": limit}).as_object().unwrap().clone()
}

fn found(value: f64) -> Outcome {
    Outcome { value }
}

#[test]
fn records_are_kept_and_end_in_the_order_of_their_items() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep").join("out");
    let open = || ItemLog::<Outcome>::open(&out, &settings(3));
    let mut log = open().unwrap();
    log.add([(2, found(0.1)), (0, found(-1.5))]).unwrap();
    // The first record of an item stays.
    log.add([(2, found(7.0))]).unwrap();
    assert!(matches!(open(), Err(EvalError::Locked { .. })));
    drop(log);
    let mut log = open().unwrap();
    assert!(log.has(0) && !log.has(1) && log.has(2));
    log.add([(1, found(1.0 / 3.0))]).unwrap();
    log.finish(&json!({"mean": 1}), "# Results\n").unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(
        read("items.jsonl"),
        "{\"item\":0,\"value\":-1.5}\n{\"item\":1,\"value\":0.3333333333333333}\n{\"item\":2,\"value\":0.1}\n"
    );
    assert_eq!(read("results.json"), "{\n  \"mean\": 1\n}\n");
    assert_eq!(read("results.md"), "# Results\n");
    let values: Vec<f64> = open()
        .unwrap()
        .records()
        .values()
        .map(|found| found.value)
        .collect();
    assert_eq!(values, [-1.5, 1.0 / 3.0, 0.1]);
}

#[test]
fn a_line_that_a_kill_cut_off_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let open = || ItemLog::<Outcome>::open(&out, &settings(3)).unwrap();
    open().add([(0, found(1.0)), (1, found(2.0))]).unwrap();
    let path = out.join("items.jsonl");
    let whole = fs::read(&path).unwrap();
    let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for end in 0..=whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let mut log = open();
        assert_eq!(log.has(0), end >= first_line);
        assert_eq!(log.has(1), end == whole.len());
        log.add([(0, found(1.0)), (1, found(2.0))]).unwrap();
        drop(log);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_folder_in_which_nothing_was_finished_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".settings.json.partial"), "{\"lim").unwrap();
    drop(ItemLog::<Outcome>::open(folder.path(), &settings(3)).unwrap());
    drop(ItemLog::<Outcome>::open(folder.path(), &settings(3)).unwrap());
}

#[test]
fn folders_of_something_else_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    drop(ItemLog::<Outcome>::open(&out, &settings(3)).unwrap());
    let other = ItemLog::<Outcome>::open(&out, &settings(4))
        .unwrap_err()
        .to_string();
    assert!(
        other.contains("limit: 4 here, 3 there") && other.contains("--out"),
        "{other}"
    );
    fs::write(out.join("items.jsonl"), "{\"item\":0,\"value\":1}\nno JSON\n").unwrap();
    let broken = ItemLog::<Outcome>::open(&out, &settings(3))
        .unwrap_err()
        .to_string();
    assert!(broken.contains("line 2"), "{broken}");
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.tex"), "x").unwrap();
    let theirs = ItemLog::<Outcome>::open(&full, &settings(3)).unwrap_err();
    assert!(matches!(theirs, EvalError::NotOurs { .. }), "{theirs}");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
}
