//! What a person gets for a mistake: one clear message, an exit code that is not 0, nothing half-written.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/demo")
}

fn smollm3() -> Command {
    Command::new(env!("CARGO_BIN_EXE_smollm3"))
}

/// A copy of the demo in which `from` became `to`, once.
fn altered(from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(demo()).unwrap() {
        let path = entry.unwrap().path();
        let config = demo().join("../../configs").canonicalize().unwrap();
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("../../configs", config.to_str().unwrap());
        fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let file = ["recipe.toml", "phase-1.toml"]
        .into_iter()
        .map(|name| folder.path().join(name))
        .find(|path| fs::read_to_string(path).unwrap().contains(from))
        .unwrap_or_else(|| panic!("the demo has no {from:?}"));
    fs::write(&file, fs::read_to_string(&file).unwrap().replacen(from, to, 1)).unwrap();
    folder
}

/// Runs and expects a refusal whose message has every part; the output folder must not appear.
#[track_caller]
fn refused(recipe: &Path, arguments: &[&str], parts: &[&str]) {
    let output = tempfile::tempdir().unwrap();
    let out = output.path().join("out");
    let assert = smollm3()
        .arg("run")
        .arg(recipe)
        .args(["--set", &format!("run.output={}", out.display())])
        .args(arguments)
        .assert()
        .failure();
    let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    for part in parts {
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
    assert!(!message.contains("panicked"), "{message}");
    assert!(!out.exists(), "nothing is written");
}

#[test]
fn unknown_keys_are_named_with_what_was_meant() {
    let recipe = altered("held_out =", "heldout =");
    refused(recipe.path(), &[], &["recipe.toml", "heldout", "held_out"]);
}

#[test]
fn wrong_units_say_what_to_write() {
    let recipe = altered("warmup = \"40 steps\"", "warmup = 40");
    refused(recipe.path(), &[], &["warmup", "steps"]);
    let recipe = altered("global_batch = \"16 sequences\"", "global_batch = \"16 rows\"");
    refused(recipe.path(), &[], &["global_batch", "sequences"]);
}

#[test]
fn missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    refused(&folder.path().join("nowhere"), &[], &["nowhere"]);
    let recipe = altered("mixture = \"phase-1.toml\"", "mixture = \"phase-9.toml\"");
    refused(recipe.path(), &[], &["phase-9.toml"]);
}

#[test]
fn shares_must_be_positive_and_not_all_zero() {
    let recipe = altered(
        "shares = { web = 85, code = 12, math = 3 }",
        "shares = { web = 85, code = -12, math = 3 }",
    );
    refused(recipe.path(), &[], &["code", "-12"]);
    let recipe = altered(
        "shares = { web = 85, code = 12, math = 3 }",
        "shares = { web = 0, code = 0, math = 0 }",
    );
    refused(recipe.path(), &[], &["phase-1.toml", "shares"]);
}

#[test]
fn heads_must_divide() {
    let arguments = ["--set", "model.config.num_key_value_heads=4"];
    refused(
        &demo(),
        &arguments,
        &["num_attention_heads = 6", "num_key_value_heads = 4"],
    );
}

#[test]
fn backends_that_are_not_compiled_in_say_how_to_get_them() {
    for name in ["tch", "cuda"] {
        if !smollm3_kernels::compiled_backends().contains(&name) {
            refused(
                &demo(),
                &["--backend", name],
                &[name, "not compiled", "--features"],
            );
        }
    }
    refused(&demo(), &["--backend", "jax"], &["jax", "flex"]);
    refused(&demo(), &["--device", "cuda:0"], &["flex", "cuda:0", "cpu"]);
}

#[test]
fn options_that_cannot_be_honoured_are_refused() {
    refused(&demo(), &["--set", "run.precision=f16"], &["precision", "f16"]);
    refused(
        &demo(),
        &["--set", "stage.pretrain.sequence_length=512"],
        &["512", "max_position_embeddings"],
    );
    refused(
        &demo(),
        &["--set", "run.precision=bf16"],
        &["bf16", "flex", "tch"],
    );
    refused(&demo(), &["--until", "nothing"], &["nothing", "pretrain"]);
    refused(&demo(), &["--set", "nonsense"], &["nonsense"]);
    refused(&demo(), &["--set", "run.sead=3"], &["sead", "seed"]);
}

#[test]
fn checkpoints_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let generate = |folder: &Path| {
        let assert = smollm3()
            .arg("generate")
            .arg(folder)
            .args(["--prompt", "x"])
            .assert()
            .failure();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert!(generate(&folder.path().join("nowhere")).contains("nowhere"));
    assert!(generate(folder.path()).contains("config.json"));
    fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(generate(folder.path()).contains("config.json"));
}
