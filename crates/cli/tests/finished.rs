//! Starts of runs with complete stages, whose weights are not read.

mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tiny::MODEL_AND_DATA;

/// Three stages, each on the weights of the one before, with a question about all of them.
fn write_recipe(folder: &Path) {
    let stage = |name: &str, from: &str| {
        format!(
            r#"
[[stage]]
name = "{name}"
kind = "pretrain"
{from}
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
optimizer = {{ learning_rate = 1e-2 }}
schedule = {{ kind = "constant" }}
checkpoint = {{ every = "1 steps", keep = 2 }}
phase = [{{ name = "only", until = "3 steps", mixture = {{ sources = {{ sums = 1 }} }} }}]
"#
        )
    };
    let text = format!(
        r#"
[run]
name = "tiny"
seed = 5
output = '{out}'

{MODEL_AND_DATA}
[source.sums]
category = "math"
kind = "arithmetic"
documents = 60

[evaluation.held_out]
sequence_length = 64
rows = 2
{}{}{}"#,
        stage("first", ""),
        stage("second", "from = \"first\""),
        stage("third", "from = \"second\""),
        out = folder.join("out").display()
    );
    fs::write(folder.join("recipe.toml"), text).unwrap();
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .arg("run")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn last(folder: &Path, stage: &str) -> PathBuf {
    folder.join("out").join(stage).join("step-00000003")
}

/// Puts other weights of the same length there.
fn damage(checkpoint: &Path) -> Vec<u8> {
    let file = checkpoint.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&file, &bytes).unwrap();
    bytes
}

#[test]
fn weights_of_a_finished_stage_are_read_by_the_stage_that_needs_them_and_by_no_other() {
    let whole = tempfile::tempdir().unwrap();
    write_recipe(whole.path());
    succeeds(whole.path(), &[]);
    let weights = |folder: &Path| fs::read(last(folder, "third").join("model.safetensors")).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_recipe(folder);
    succeeds(folder, &["--until", "second"]);
    // The first stage is no longer needed: neither its weights nor its moments are read.
    let damaged = damage(&last(folder, "first"));
    fs::remove_file(last(folder, "first").join("optimizer.safetensors")).unwrap();
    let evaluation = fs::read(folder.join("out/first/evaluation.json")).unwrap();
    let told = succeeds(folder, &[]);
    for stage in ["first", "second"] {
        assert!(told.contains(&format!("{stage}: complete (3 steps)")), "{told}");
        assert_eq!(
            fs::read_to_string(folder.join("out").join(stage).join("incidents.jsonl")).unwrap(),
            ""
        );
    }
    assert!(weights(folder) == weights(whole.path()));
    assert!(fs::read(last(folder, "first").join("model.safetensors")).unwrap() == damaged);
    assert_eq!(
        fs::read(folder.join("out/first/evaluation.json")).unwrap(),
        evaluation
    );
    // All are complete: nothing is trained or evaluated again.
    let again = succeeds(folder, &[]);
    assert!(again.contains("third: complete (3 steps)"), "{again}");

    // Another evaluation needs them, and does not use damaged weights.
    let output = run(folder, &["--set", "evaluation.held_out.rows=3"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        text.contains("first/step-00000003") && text.contains("model.safetensors"),
        "{text}"
    );
}

#[test]
fn a_stage_never_starts_from_an_earlier_step_of_a_damaged_parent() {
    let whole = tempfile::tempdir().unwrap();
    write_recipe(whole.path());
    succeeds(whole.path(), &["--until", "second"]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_recipe(folder);
    succeeds(folder, &["--until", "first"]);
    damage(&last(folder, "first"));
    let output = run(folder, &["--until", "second"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    let place = last(folder, "first");
    assert!(
        text.contains(place.to_str().unwrap()) && text.contains("restore or remove it"),
        "{text}"
    );
    // As the message says.
    fs::remove_dir_all(&place).unwrap();
    succeeds(folder, &["--until", "second"]);
    let weights = |folder: &Path| fs::read(last(folder, "second").join("model.safetensors")).unwrap();
    assert!(weights(folder) == weights(whole.path()));
}
