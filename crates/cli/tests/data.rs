//! `smollm3 data …`, through the command line.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

fn smollm3() -> Command {
    Command::new(env!("CARGO_BIN_EXE_smollm3"))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Writes `documents` lines of JSON, each with its own words.
fn jsonl(path: &Path, topic: &str, documents: usize) {
    let line = |i: usize| {
        let words: Vec<String> = (0..30)
            .map(|j| format!("{topic}{}", (i * 7 + j * j) % 53))
            .collect();
        format!("{}\n", serde_json::json!({ "text": words.join(" ") }))
    };
    fs::write(path, (0..documents).map(line).collect::<String>()).unwrap();
}

/// A recipe of two JSONL sources, its tokenizer trained on them, in its own folder.
fn recipe() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    jsonl(&folder.path().join("web.jsonl"), "page", 60);
    jsonl(&folder.path().join("code.jsonl"), "let", 40);
    let output = folder.path().join("out");
    let toml = format!(
        r#"
[run]
name = "small"
seed = 1
output = "{}"

[model.config]
vocab_size = 300
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
max_position_embeddings = 32
rope_theta = 10000.0

[tokenizer.train]
vocab_size = 300
bytes = "20kB"

[source.web]
category = "web"
kind = "jsonl"
paths = ["web.jsonl"]
max_epochs = 9

[source.code]
category = "code"
kind = "jsonl"
paths = ["code.jsonl"]
max_epochs = 9

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 32
global_batch = "8 sequences"
micro_batch = "2 sequences"

[stage.optimizer]
learning_rate = 1e-3

[stage.schedule]
kind = "wsd"
warmup = "1 steps"
decay = "20%"

[[stage.phase]]
name = "only"
until = "10 steps"
mixture = {{ shares = {{ web = 75, code = 25 }}, sources = {{ web = 1, code = 1 }} }}
"#,
        output.display()
    );
    fs::write(folder.path().join("recipe.toml"), toml).unwrap();
    folder
}

fn order(recipe: &Path, arguments: &[&str]) -> Vec<Value> {
    let assert = smollm3()
        .args(["data", "order"])
        .arg(recipe)
        .args(arguments)
        .arg("--json")
        .assert()
        .success();
    text(&assert.get_output().stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_order_needs_no_data_and_with_data_names_windows_and_shows_documents() {
    let folder = recipe();
    let before = order(folder.path(), &["--step", "3", "--count", "2"]);
    assert_eq!(before.len(), 2);
    assert_eq!(
        (&before[0]["step"], &before[1]["step"]),
        (&Value::from(3), &Value::from(4))
    );
    let sources = |step: &Value| -> Vec<String> {
        let sequences = step["sequences"].as_array().unwrap();
        sequences
            .iter()
            .map(|s| s["source"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = sources(&before[0]);
    assert_eq!(
        first.iter().filter(|source| *source == "web").count(),
        6,
        "{first:?}"
    );
    assert!(before[0]["sequences"][0]["window"].is_null());
    let refused = smollm3()
        .args(["data", "order", "--step", "3", "--text"])
        .arg(folder.path())
        .assert()
        .failure();
    assert!(text(&refused.get_output().stderr).contains("data prepare"));

    smollm3()
        .args(["data", "prepare"])
        .arg(folder.path())
        .assert()
        .success();
    let after = order(folder.path(), &["--step", "3", "--text"]);
    assert_eq!(sources(&after[0]), first, "the same order with data");
    for sequence in after[0]["sequences"].as_array().unwrap() {
        assert!(sequence["window"].is_u64());
        let topic = if sequence["source"] == "web" {
            "page"
        } else {
            "let"
        };
        let documents = sequence["documents"].as_array().unwrap();
        let shown: String = documents.iter().filter_map(Value::as_str).collect();
        assert!(shown.contains(topic), "{shown}");
    }

    // The sequences of all ranks together are the batch.
    let mut union: Vec<Value> = (0..4)
        .flat_map(|rank| {
            let rank = rank.to_string();
            let step = order(folder.path(), &["--step", "3", "--rank", &rank, "--world", "4"]);
            step[0]["sequences"].as_array().unwrap().clone()
        })
        .collect();
    union.sort_by_key(|sequence| sequence["index"].as_u64());
    let whole = order(folder.path(), &["--step", "3"]);
    assert_eq!(&Value::from(union), &whole[0]["sequences"]);
}

#[test]
fn a_recipe_of_json_lines_is_planned_prepared_and_run() {
    let folder = recipe();
    smollm3().arg("plan").arg(folder.path()).assert().success();
    smollm3().arg("run").arg(folder.path()).assert().success();
    assert!(
        folder
            .path()
            .join("out/pretrain/step-00000010/model.safetensors")
            .is_file()
    );

    // Known stores now tell the plan how often each source is read.
    let plan = smollm3()
        .arg("plan")
        .arg(folder.path())
        .arg("--json")
        .assert()
        .success();
    let plan: Value = serde_json::from_slice(&plan.get_output().stdout).unwrap();
    let source = &plan["stages"][0]["phases"][0]["sources"][0];
    assert!(source["epochs"].as_f64().unwrap() > 0.0, "{source}");
}

#[test]
fn the_plan_refuses_a_stage_that_its_stores_cannot_feed() {
    let folder = recipe();
    smollm3()
        .args(["data", "prepare"])
        .arg(folder.path())
        .assert()
        .success();
    let file = folder.path().join("recipe.toml");
    let toml = fs::read_to_string(&file).unwrap();
    // Nothing was trained there, so the folder accepts the changed recipe, for which its stores do not suffice.
    fs::write(&file, toml.replace("10 steps", "4000 steps")).unwrap();
    let refused = smollm3().arg("run").arg(folder.path()).assert().failure();
    let message = text(&refused.get_output().stderr);
    assert!(message.contains("may be read 9 times"), "{message}");

    fs::write(
        &file,
        toml.replace("10 steps", "4000 steps")
            .replace("/out\"", "/other\""),
    )
    .unwrap();
    smollm3()
        .args(["data", "prepare"])
        .arg(folder.path())
        .assert()
        .success();
    let refused = smollm3().arg("plan").arg(folder.path()).assert().failure();
    let message = text(&refused.get_output().stderr);
    assert!(
        message.contains("max_epochs") && message.contains("epochs where 9 are allowed"),
        "{message}"
    );
}

#[test]
fn the_plan_refuses_a_tokenizer_that_the_model_has_no_room_for() {
    let folder = recipe();
    smollm3()
        .args(["data", "prepare"])
        .arg(folder.path())
        .assert()
        .success();
    let file = folder.path().join("recipe.toml");
    let toml = fs::read_to_string(&file).unwrap();
    let trained = "[tokenizer.train]\nvocab_size = 300\nbytes = \"20kB\"\n";
    assert!(toml.contains(trained));
    let toml = toml
        .replace(trained, "[tokenizer]\nfile = \"out/tokenizer/tokenizer.json\"\n")
        .replace("vocab_size = 300", "vocab_size = 299")
        .replace("/out\"", "/other\"");
    fs::write(&file, toml).unwrap();
    let refused = smollm3().arg("plan").arg(folder.path()).assert().failure();
    let message = text(&refused.get_output().stderr);
    assert!(message.contains("299") && message.contains("300"), "{message}");
}

#[test]
fn documents_can_be_told_apart_by_the_end_of_text_or_not_at_all() {
    let folder = recipe();
    let counts = |documents: &str| -> usize {
        let out = format!("run.output={}", folder.path().join(documents).display());
        let set = format!("data.documents={documents}");
        let overrides = ["--set", &out, "--set", &set];
        smollm3()
            .args(["data", "prepare"])
            .arg(folder.path())
            .args(overrides)
            .assert()
            .success();
        let arguments = [&["--step", "1", "--count", "10", "--text"], &overrides[..]].concat();
        let steps = order(folder.path(), &arguments);
        let sequences = steps
            .iter()
            .flat_map(|step| step["sequences"].as_array().unwrap());
        sequences
            .map(|sequence| sequence["documents"].as_array().unwrap().len())
            .sum()
    };
    assert_eq!(counts("store"), counts("end-of-text"));
    assert_eq!(counts("ignored"), 80, "ten steps of eight rows");
    assert!(counts("store") > 80);
}

#[test]
fn tokenize_reports_and_bad_rows_are_named_or_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    jsonl(&input, "word", 20);
    let broken = format!(
        "{}not json\n{{\"text\": 7}}\n",
        fs::read_to_string(&input).unwrap()
    );
    fs::write(&input, broken).unwrap();
    let made = recipe();
    smollm3()
        .args(["data", "prepare"])
        .arg(made.path())
        .assert()
        .success();
    let tokenize = |out: &str, arguments: &[&str]| {
        smollm3()
            .args(["data", "tokenize"])
            .arg(&input)
            .arg("--tokenizer")
            .arg(made.path().join("out/tokenizer"))
            .arg("--out")
            .arg(folder.path().join(out))
            .args(arguments)
            .assert()
    };
    let stopped = tokenize("stop", &[]).failure();
    let message = text(&stopped.get_output().stderr);
    assert!(
        message.contains("in.jsonl") && message.contains("21"),
        "{message}"
    );

    let skipped = tokenize("skip", &["--bad-rows", "skip"]).success();
    let report = text(&skipped.get_output().stdout);
    assert!(
        report.contains("20 documents") && report.contains("1 rows, broken JSON"),
        "{report}"
    );
    assert!(folder.path().join("skip/train").is_dir());
    // The same command again finds the work done and says the same.
    let again = tokenize("skip", &["--bad-rows", "skip"]).success();
    assert_eq!(text(&again.get_output().stdout), report);

    let wrong = tokenize("column", &["--column", "body"]).failure();
    assert!(text(&wrong.get_output().stderr).contains("body"));
}

#[test]
fn any_step_of_the_released_recipe_is_found() {
    let steps = order(&repository().join("recipes/smollm3-3b"), &["--step", "4000000"]);
    assert_eq!(steps[0]["phase"], "phase-2");
    let sequences = steps[0]["sequences"].as_array().unwrap();
    assert_eq!(sequences.len(), 576);
    let refused = smollm3()
        .args(["data", "order", "--step", "99000000"])
        .arg(repository().join("recipes/smollm3-3b"))
        .assert()
        .failure();
    assert!(text(&refused.get_output().stderr).contains("99000000"));
}

#[test]
fn benches_speak_json() {
    let bench = smollm3()
        .args(["bench", "mixer", "--json"])
        .arg(repository().join("recipes/smollm3-3b"))
        .assert()
        .success();
    let bench: Value = serde_json::from_slice(&bench.get_output().stdout).unwrap();
    assert!(bench["served_gigabytes_per_second"].as_f64().unwrap() > 0.0);
    assert!(!bench["addressing"].as_array().unwrap().is_empty());
}
