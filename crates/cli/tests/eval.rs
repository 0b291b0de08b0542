//! `smollm3 eval`, through the command line.

#[path = "../../inference/tests/checkpoint/mod.rs"]
mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use files::checkpoint;
use serde_json::{Value, json};
use smollm3_corpus::text::Arithmetic;
use smollm3_corpus::{StoreWriter, Tokenizer};

fn smollm3() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm3"));
    command.stdin(Stdio::null());
    command
}

fn run(checkpoint: &Path, options: &[&str]) -> (bool, String, String) {
    let output = smollm3()
        .arg("eval")
        .arg(checkpoint)
        .args(options)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn probes_and_loss_by_position_come_as_table_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let tokenizer = Tokenizer::load(checkpoint.join("tokenizer.json")).unwrap();
    let store = folder.path().join("store");
    let mut writer = StoreWriter::create(store.join("0000.ds"), "test", 512).unwrap();
    let texts = Arithmetic::new(2, 400);
    for document in 0..40 {
        let text: String = (0..10).map(|part| texts.text(10 * document + part)).collect();
        writer.push_document(&tokenizer.encode(&text).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let json = folder.path().join("found.json");
    let (store, file) = (store.to_str().unwrap(), json.to_str().unwrap());
    let options = [
        "--lengths",
        "350,400",
        "--items",
        "2",
        "--store",
        store,
        "--json",
        file,
    ];
    let (done, out, error) = run(&checkpoint, &options);
    assert!(done, "{error}");
    for name in [
        "single",
        "multi-query",
        "frequent-words",
        "mean",
        "400",
        "0 to 349",
        "350 to 399",
    ] {
        assert!(out.contains(name), "{name} is missing:\n{out}");
    }
    let found: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(found["long_context"].as_array().unwrap().len(), 14);
    let positions = found["loss_by_position"].as_array().unwrap();
    assert_eq!(positions.len(), 2);
    // A model that has learnt nothing is near ln 512, with large random weights somewhat above.
    assert!(
        positions
            .iter()
            .all(|part| (6.0..9.0).contains(&part["loss"].as_f64().unwrap())),
        "{positions:?}"
    );
    // The same again, to the bit.
    let before = fs::read(&json).unwrap();
    assert!(run(&checkpoint, &options).0);
    assert_eq!(fs::read(&json).unwrap(), before);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let refused = |options: &[&str], words: &[&str]| {
        let (done, _, error) = run(&checkpoint, options);
        assert!(!done);
        for word in words {
            assert!(error.contains(word), "{word} is missing: {error}");
        }
    };
    refused(&["--lengths", "40"], &["single", "40", "too short"]);
    refused(
        &["--lengths", "16777217"],
        &["max_position_embeddings = 16777217", "write at most 16777216"],
    );
    refused(&["--lengths", "256", "--items", "0"], &["items"]);
    refused(
        &["--lengths", "256", "--tasks", "needle"],
        &["needle", "multi-key"],
    );
    refused(
        &[
            "--lengths",
            "256",
            "--tasks",
            "single",
            "--items",
            "1",
            "--store",
            "nowhere",
        ],
        &["nowhere"],
    );
    refused(
        &["--lengths", "256", "--documents", "3"],
        &["--documents", "--store"],
    );
    fs::remove_file(checkpoint.join("tokenizer.json")).unwrap();
    refused(&["--lengths", "256"], &["tokenizer.json"]);
}

fn rows(path: &Path, rows: &[Value]) -> String {
    let lines: String = rows.iter().map(|row| row.to_string() + "\n").collect();
    fs::write(path, lines).unwrap();
    path.to_str().unwrap().to_owned()
}

fn questions(folder: &Path) -> String {
    let row = |i: usize| {
        json!({"id": i.to_string(), "question": format!("What is {i} + 1?"), "answerKey": "B",
            "choices": {"text": [i.to_string(), (i + 1).to_string()], "label": ["A", "B"]}})
    };
    rows(&folder.join("arc.jsonl"), &(0..6).map(row).collect::<Vec<_>>())
}

fn read(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn multiple_choice_is_kept_item_by_item_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let (data, out) = (questions(folder.path()), folder.path().join("out"));
    let path = out.to_str().unwrap();
    let options = [
        "--suite", "arc-easy", "--data", &data, "--out", path, "--shots", "1",
    ];
    let (done, text, error) = run(&checkpoint, &options);
    assert!(done, "{error}");
    for words in ["arc-easy, cloze, 1-shot", "(acc_norm)", "6 items", "50.00"] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
    let log = fs::read_to_string(out.join("items.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 6);
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(
        first["context"],
        "Question: What is 1 + 1?\nAnswer: 2\n\nQuestion: What is 0 + 1?\nAnswer:"
    );
    assert_eq!(first["choices"][1]["continuation"], " 1");
    let results = read(out.join("results.json"));
    let right = log.lines().filter(|line| {
        let item: Value = serde_json::from_str(line).unwrap();
        item["chosen"]["raw"] == item["gold"]
    });
    assert_eq!(
        results["results"]["all"]["raw"]["value"],
        json!(right.count() as f64 / 6.0)
    );
    assert!(
        fs::read_to_string(out.join("results.md"))
            .unwrap()
            .starts_with("# arc-easy")
    );

    // Stopped in the middle of a line: what is missing is repeated, to the same bits.
    let cut = log.lines().take(3).map(str::len).sum::<usize>() + 3 + 10;
    fs::write(out.join("items.jsonl"), &log[..cut]).unwrap();
    let (done, _, error) = run(&checkpoint, &options);
    assert!(done && error.contains("resuming after 3 items"), "{error}");
    assert_eq!(fs::read_to_string(out.join("items.jsonl")).unwrap(), log);

    // The same folder for something else.
    let other = [
        "--suite", "arc-easy", "--data", &data, "--out", path, "--form", "lettered",
    ];
    let (done, _, error) = run(&checkpoint, &other);
    assert!(
        !done && error.contains("form: \"lettered\" here, \"cloze\" there"),
        "{error}"
    );
    let mut weights = fs::read(checkpoint.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(checkpoint.join("model.safetensors"), weights).unwrap();
    let (done, _, error) = run(&checkpoint, &options);
    assert!(!done && error.contains("checkpoint_blake3"), "{error}");
}

#[test]
fn problems_are_solved_and_text_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let row =
        |i: u32| json!({"question": format!("What is {i} + {i}?"), "answer": format!("#### {}", 2 * i)});
    let data = rows(
        &folder.path().join("gsm.jsonl"),
        &(0..4).map(row).collect::<Vec<_>>(),
    );
    let json = folder.path().join("found.json");
    let file = json.to_str().unwrap();
    let options = [
        "--suite",
        "gsm8k",
        "--data",
        &data,
        "--samples",
        "2",
        "--max-new-tokens",
        "5",
        "--json",
        file,
    ];
    let (done, text, error) = run(&checkpoint, &options);
    assert!(done, "{error}");
    assert!(
        text.contains("plain text") && text.contains("majority of 2"),
        "{text}"
    );
    let found = read(json);
    assert_eq!(
        (&found["results"]["items"], &found["results"]["samples"]),
        (&json!(4), &json!(2))
    );
    let refused = |options: &[&str], words: &[&str]| {
        let (done, _, error) = run(&checkpoint, options);
        assert!(!done && words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(
        &["--suite", "gsm8k", "--data", &data, "--think"],
        &["chat template"],
    );
    refused(
        &[
            "--suite",
            "gsm8k",
            "--data",
            &data,
            "--samples",
            "2",
            "--temperature",
            "0",
        ],
        &["--temperature 0.6"],
    );
    refused(
        &["--suite", "gsm8k", "--data", &data, "--instruction", "Hurry."],
        &["--instruction", "--no-think"],
    );

    let texts = Arithmetic::new(3, 9);
    let lines: Vec<Value> = (0..5).map(|i| json!({"text": texts.text(i)})).collect();
    let data = rows(&folder.path().join("text.jsonl"), &lines);
    let out = folder.path().join("loss");
    let options = [
        "--suite",
        "loss",
        "--text",
        &data,
        "--limit",
        "4",
        "--out",
        out.to_str().unwrap(),
    ];
    let (done, text, error) = run(&checkpoint, &options);
    assert!(
        done && text.contains("bits/byte") && text.contains("text.jsonl"),
        "{text}{error}"
    );
    let found = read(out.join("results.json"));
    assert_eq!(found["results"][0]["documents"], 4);
    // A model that has learnt nothing is near ln 512, with large random weights somewhat above.
    let nats = found["results"][0]["nats_per_token"]["value"].as_f64().unwrap();
    assert!((6.0..9.0).contains(&nats), "{nats}");
}

#[test]
fn what_does_not_fit_a_suite_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let data = questions(folder.path());
    let refused = |options: &[&str], words: &[&str]| {
        let (done, _, error) = run(&checkpoint, options);
        assert!(!done);
        for word in words {
            assert!(error.contains(word), "{word} is missing: {error}");
        }
    };
    refused(
        &["--suite", "piqa", "--data", &data],
        &["line 1 of", "goal, sol1, sol2, label", "id, question"],
    );
    refused(&["--suite", "piqa"], &["--data"]);
    refused(
        &["--suite", "piqa", "--data", "nowhere.jsonl"],
        &["nowhere.jsonl"],
    );
    refused(
        &["--suite", "arc-easy", "--data", &data, "--shots", "6"],
        &["--shots 5"],
    );
    refused(
        &["--suite", "arc-easy", "--data", &data, "--think"],
        &["--think", "arc-easy", "--form"],
    );
    refused(&["--data", &data], &["--data", "long-context", "--lengths"]);
    refused(&["--suite", "loss", "--data", &data], &["--data", "--text"]);
    refused(&["--suite", "loss"], &["--store", "--text"]);
    refused(&["--suite", "hella"], &["hellaswag", "gsm8k"]);
    let options = ["--suite", "arc-easy", "--data", &data, "--shots-from", &data];
    refused(&options, &["--shots <SHOTS>"]);
    let options = [&options[..], &["--shots", "0"]].concat();
    refused(&options, &["--shots-from", "--shots 0"]);
    let options = [
        "--suite", "loss", "--text", &data, "--column", "question", "--piece", "4k",
    ];
    refused(&options, &["--piece 4096", "128"]);
    let empty = rows(&folder.path().join("empty.jsonl"), &[]);
    refused(
        &["--suite", "arc-easy", "--data", &empty],
        &["empty.jsonl", "no row"],
    );
    let silent = rows(&folder.path().join("silent.jsonl"), &[json!({"text": ""})]);
    refused(&["--suite", "loss", "--text", &silent], &["no token to predict"]);
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_crash() {
    use std::os::unix::process::ExitStatusExt;
    let recipe = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../recipes/smollm3-3b");
    let mut plan = smollm3()
        .arg("plan")
        .arg(recipe)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(plan.stdout.take());
    let output = plan.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_store_of_another_tokenizer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let store = folder.path().join("store");
    let mut writer = StoreWriter::create(store.join("0000.ds"), "test", 128_256).unwrap();
    writer.push_document(&vec![99_999; 400]).unwrap();
    writer.finish().unwrap();
    let store = store.to_str().unwrap();
    for options in [
        ["--lengths", "350", "--items", "1", "--store", store].as_slice(),
        ["--suite", "loss", "--store", store].as_slice(),
    ] {
        let (done, _, error) = run(&checkpoint, options);
        assert!(!done && !error.contains("panicked"), "{error}");
        assert!(error.contains("99999") && error.contains(store), "{error}");
    }
}
