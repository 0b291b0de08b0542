//! `smollm3 sweep` from a file to its table, with real runs.

mod tiny;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use tiny::MODEL_AND_DATA;

const RECIPE: &str = r#"
[run]
name = "tiny"
seed = 5
output = "unused"
backend = "BACKEND"

MODEL_AND_DATA
[source.sums]
category = "math"
kind = "arithmetic"
documents = 120
seed = 1

[[stage]]
name = "short"
kind = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "4 sequences"

[stage.optimizer]
learning_rate = 1e-2

[stage.schedule]
kind = "wsd"
warmup = "1 steps"
decay = "1 steps"

[[stage.phase]]
name = "short"
until = "4 steps"

[stage.phase.mixture]
shares = { math = 1 }
sources = { sums = 1 }
"#;

const SWEEP: &str = r#"
output = "OUT"
seeds = [1, 2]

[[variation]]
name = "no-document-mask"
set = ["data.documents=ignored"]

[[variation]]
name = "rate"
grid = ["stage.short.optimizer.learning_rate=1e-3"]
"#;

fn smollm3(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm3"));
    command.arg("sweep").arg(folder);
    command
}

#[test]
fn variations_are_run_compared_and_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let backend = if cfg!(feature = "flex") { "flex" } else { "tch" };
    fs::write(
        folder.path().join("recipe.toml"),
        RECIPE
            .replace("BACKEND", backend)
            .replace("MODEL_AND_DATA", MODEL_AND_DATA),
    )
    .unwrap();
    let sweep = SWEEP.replace("OUT", out.to_str().unwrap());
    fs::write(folder.path().join("sweep.toml"), sweep).unwrap();

    let shown = smollm3(folder.path()).arg("--dry-run").assert().success();
    let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(shown.contains("rate-learning_rate=1e-3-2"), "{shown}");
    assert!(!out.exists(), "nothing is written");

    let done = smollm3(folder.path()).args(["--jobs", "2"]).assert().success();
    let table = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    for part in ["no-document-mask against base", "held-out math", "2 of 2"] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
    for file in [
        "table.md",
        "sweep.json",
        "report.html",
        "logs/base-1.log",
        "base-2/finished.json",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    // What a model is measured on does not depend on how it was trained: the same tokens, documents apart.
    let tokens = |run: &str| {
        let lines = fs::read_to_string(out.join(run).join("short/metrics.jsonl")).unwrap();
        let held_out = lines
            .lines()
            .rev()
            .find(|line| line.contains("held-out"))
            .unwrap()
            .to_owned();
        serde_json::from_str::<serde_json::Value>(&held_out).unwrap()["tokens"].clone()
    };
    assert_eq!(tokens("base-1"), tokens("no-document-mask-1"));

    let started = fs::metadata(out.join("base-1/short/metrics.jsonl"))
        .unwrap()
        .modified()
        .unwrap();
    let again = smollm3(folder.path()).assert().success();
    assert!(!String::from_utf8_lossy(&again.get_output().stderr).contains("starts"));
    let now = fs::metadata(out.join("base-1/short/metrics.jsonl"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(started, now);

    let changed = smollm3(folder.path())
        .args(["--set", "stage.short.optimizer.learning_rate=5e-3"])
        .assert()
        .failure();
    let message = String::from_utf8_lossy(&changed.get_output().stderr).into_owned();
    assert!(
        message.contains("learning_rate") && message.contains("--output"),
        "{message}"
    );
}
