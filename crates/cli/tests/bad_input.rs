//! Mistakes give one clear message, a non-zero exit code, and no partial output.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use smollm3_recipe::{ModelConfig, Spelling};

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
    let recipe = altered("warmup = \"20 steps\"", "warmup = 40");
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
    let arguments = ["--set", "model.config.num_key_value_heads=3"];
    refused(
        &demo(),
        &arguments,
        &["num_attention_heads = 4", "num_key_value_heads = 3"],
    );
}

#[test]
fn backends_that_are_not_compiled_in_say_how_to_get_them() {
    for name in ["tch", "wgpu"] {
        if !smollm3_kernels::compiled_backends().contains(&name) {
            refused(
                &demo(),
                &["--backend", name],
                &[name, "not compiled", "--features"],
            );
        }
    }
    refused(&demo(), &["--backend", "jax"], &["jax", "flex"]);
    refused(&demo(), &["--backend", "cuda"], &["cuda", "flex"]);
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
    refused(
        &demo(),
        &["--backend", "wgpu", "--set", "run.precision=bf16"],
        &["bf16", "wgpu", "f32", "tch"],
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
    assert!(generate(Path::new("/nowhere")).ends_with("/nowhere: there is no such file or folder\n"));
    for none in ["hf://gpt2", "owner/name@", "https://huggingface.co/owner/name"] {
        let error = generate(Path::new(none));
        let words = [none, "there is no such file or folder", "hf://owner/name/folder"];
        assert!(words.iter().all(|part| error.contains(part)), "{error}");
    }
    assert!(generate(folder.path()).contains("config.json"));
    // A run or a stage in the place of a checkpoint.
    let step = folder.path().join("sft/step-00000003");
    fs::create_dir_all(&step).unwrap();
    fs::write(step.join("config.json"), "{}").unwrap();
    for above in [folder.path(), &folder.path().join("sft")] {
        let error = generate(above);
        assert!(error.contains(&format!("{} is one", step.display())), "{error}");
    }
    fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(generate(folder.path()).contains("config.json"));
}

/// The demo's model in `folder`, but for its context.
fn write_config(folder: &Path, context: usize) {
    let config = demo().join("../../configs/demo.toml");
    let config = ModelConfig {
        max_position_embeddings: context,
        ..ModelConfig::from_toml_file(&config).unwrap()
    };
    fs::create_dir(folder).unwrap();
    let json = config.to_hf_json(Spelling::default(), "float32");
    fs::write(folder.join("config.json"), json.to_string()).unwrap();
}

#[test]
fn rows_longer_than_the_context_of_a_checkpoint_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_config(&folder.path().join("short"), 64);
    let from = format!("stage.pretrain.from={}", folder.path().join("short").display());
    refused(
        &demo(),
        &["--set", &from],
        &[
            "\"pretrain\"",
            "sequence_length = 256",
            "max_position_embeddings = 64",
            "shorten it",
        ],
    );
}

/// Runs a command and expects a refusal whose message has every part.
#[track_caller]
fn fails(arguments: &[&str], parts: &[&str]) {
    let assert = smollm3().args(arguments).assert().failure();
    let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    for part in parts {
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn counts_and_lengths_out_of_range_are_refused() {
    let config = demo().join("../../configs/demo.toml");
    let config = config.to_str().unwrap();
    let most = "18446744073709551615";
    for option in ["--micro-batch", "--steps", "--documents"] {
        for count in ["0", most, "many"] {
            fails(
                &["bench", "step", "--config", config, option, count],
                &[option.trim_start_matches('-')],
            );
        }
    }
    fails(
        &["bench", "bits", "--config", config, "--profile"],
        &["--profile", "bench step"],
    );
    for length in ["0", "9007199254740992", "17T"] {
        fails(
            &["bench", "step", "--config", config, "--sequence-length", length],
            &[],
        );
    }
    fails(
        &[
            "bench",
            "step",
            "--config",
            config,
            "--sequence-length",
            "16777217",
        ],
        &["max_position_embeddings = 16777217", "write at most 16777216"],
    );
    for (option, count) in [
        ("--new", most),
        ("--rows", "0"),
        ("--rows", most),
        ("--rounds", most),
    ] {
        fails(
            &["bench", "generate", config, option, count],
            &[option.trim_start_matches('-')],
        );
    }
    fails(
        &["bench", "generate", config, "--prompt", "16777216"],
        &["max_position_embeddings", "write at most 16777216"],
    );
    fails(
        &[
            "bench",
            "tokenize",
            "x.jsonl",
            "--tokenizer",
            "x",
            "--rounds",
            most,
        ],
        &["rounds"],
    );
    fails(
        &["eval", "x", "--suite", "gsm8k", "--data", "x", "--samples", most],
        &["samples"],
    );
}

/// A tokenizer truncated in the middle of its decoder, as by an incomplete download.
#[test]
fn a_tokenizer_that_is_cut_short_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    fs::write(&file, r#"{"version": "1.0", "decoder": {"type": "Byte"#).unwrap();
    let text = folder.path().join("text.jsonl");
    fs::write(&text, "{\"text\": \"a\"}\n").unwrap();
    let out = folder.path().join("out");
    let [text, name, out] = [&text, &file, &out].map(|path| path.to_str().unwrap());
    fails(
        &["data", "tokenize", text, "--tokenizer", name, "--out", out],
        &[name, "not a tokenizer.json"],
    );
}
