//! `smollm3 export`: a longer context, and other dtypes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use smollm3_model::hf::Checkpoint;
use smollm3_model::{Parameters, Yarn};

fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/model")
        .join(name)
}

fn export(checkpoint: &Path, out: &Path, options: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .arg("export")
        .arg(checkpoint)
        .arg("--out")
        .arg(out)
        .args(options)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text)
}

fn numbers(checkpoint: &Checkpoint) -> Vec<f32> {
    checkpoint
        .config
        .parameter_shapes()
        .iter()
        .flat_map(|(name, shape)| {
            let data = checkpoint.tensors.parameter(name, shape).unwrap();
            data.iter::<f32>().collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_tokenizer_beyond_the_embedding_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("ckpt");
    fs::create_dir(&checkpoint).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(model("a").join(file), checkpoint.join(file)).unwrap();
    }
    let tokenizer = model("..").join("tokenizer/tokenizer.json");
    fs::copy(tokenizer, checkpoint.join("tokenizer.json")).unwrap();
    let json = fs::read_to_string(checkpoint.join("tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_str(&json).unwrap();
    let rows = Checkpoint::open(&checkpoint).unwrap().config.vocab_size;
    let added = json["added_tokens"].as_array_mut().unwrap();
    added.last_mut().unwrap()["id"] = rows.into();
    fs::write(checkpoint.join("tokenizer.json"), json.to_string()).unwrap();
    let out = folder.path().join("out");
    let (done, text) = export(&checkpoint, &out, &[]);
    assert!(!done && !out.exists(), "{text}");
    assert!(text.contains(&format!("the embedding has {rows} rows")), "{text}");
}

#[test]
fn a_longer_context_is_yarn_over_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(&model("a")).unwrap();
    let trained = original.config.max_position_embeddings;
    assert!(original.config.rope_scaling.is_none());
    let out = folder.path().join("long");
    let twice = (2 * trained).to_string();
    let (done, text) = export(&model("a"), &out, &["--context", &twice, "--dtype", "f32"]);
    assert!(done, "{text}");
    let long = Checkpoint::open(&out).unwrap();
    assert_eq!(long.config.rope_scaling, Some(Yarn::new(2.0, trained)));
    assert_eq!(long.config.max_position_embeddings, 2 * trained);
    assert_eq!(numbers(&long), numbers(&original));
    let json: Value = serde_json::from_str(&fs::read_to_string(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(json["rope_scaling"]["rope_type"], "yarn");
    assert_eq!(json["rope_scaling"]["factor"], 2.0);

    // Stretched again, it is still over what was trained.
    let again = folder.path().join("longer");
    let four = (4 * trained).to_string();
    assert!(export(&out, &again, &["--context", &four]).0);
    let config = Checkpoint::open(&again).unwrap().config;
    assert_eq!(config.rope_scaling, Some(Yarn::new(4.0, trained)));
}

#[test]
fn numbers_are_rounded_once() {
    let folder = tempfile::tempdir().unwrap();
    let original = numbers(&Checkpoint::open(&model("a")).unwrap());
    for (dtype, bits) in [("bf16", 8), ("f16", 11)] {
        let out = folder.path().join(dtype);
        assert!(export(&model("a"), &out, &["--dtype", dtype]).0);
        let rounded = numbers(&Checkpoint::open(&out).unwrap());
        // Half a unit in the last place; below that the smallest numbers of f16.
        let worst = original
            .iter()
            .zip(&rounded)
            .map(|(a, b)| (a - b).abs() / a.abs().max(1e-4))
            .fold(0f32, f32::max);
        assert!(worst > 0.0 && worst <= 0.5f32.powi(bits), "{dtype}: {worst:e}");
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("there");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.tex"), "").unwrap();
    let (done, text) = export(&model("a"), &out, &[]);
    assert!(
        !done && text.contains("there exists; choose another name"),
        "{text}"
    );
    let (done, text) = export(&model("a"), &folder.path().join("short"), &["--context", "8"]);
    assert!(!done && text.contains("within"), "{text}");
    let (done, _) = export(&folder.path().join("absent"), &folder.path().join("new"), &[]);
    assert!(!done);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_the_checkpoint_says_of_itself_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::copy(
        model("a").join("model.safetensors"),
        from.join("model.safetensors"),
    )
    .unwrap();
    let read = |path: PathBuf| -> Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let mut config = read(model("a").join("config.json"));
    config["eos_token_id"] = serde_json::json!([0, 5]);
    config["rope_interleaved"] = false.into();
    let replaced = ["dtype", "transformers_version", "_name_or_path"];
    for key in replaced {
        config[key] = "another".into();
    }
    config["transformers.js_config"] = serde_json::json!({"dtype": "q4"});
    config["rope_scaling"] = serde_json::json!({
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128,
        "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": false,
    });
    fs::write(from.join("config.json"), config.to_string()).unwrap();
    let generation = r#"{"eos_token_id": [0, 5], "do_sample": true, "temperature": 0.6, "top_p": 0.95}"#;
    fs::write(from.join("generation_config.json"), generation).unwrap();
    let companions = ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer.model"];
    for name in companions {
        fs::write(from.join(name), name).unwrap();
    }

    let out = folder.path().join("out");
    let (done, text) = export(&from, &out, &["--dtype", "bf16"]);
    assert!(done, "{text}");
    assert_eq!(
        fs::read_to_string(out.join("generation_config.json")).unwrap(),
        generation
    );
    for name in companions {
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), name);
    }
    let written = read(out.join("config.json"));
    for key in ["eos_token_id", "rope_interleaved", "transformers.js_config"] {
        assert_eq!(written[key], config[key], "{key}");
    }
    for key in ["mscale", "mscale_all_dim", "truncate", "factor"] {
        assert_eq!(written["rope_scaling"][key], config["rope_scaling"][key], "{key}");
    }
    assert_eq!(written["torch_dtype"], "bfloat16");
    for key in replaced {
        assert_eq!(written.get(key), None, "{key}");
    }

    // Without a file of its own, what is written for generation names all ends too.
    fs::remove_file(from.join("generation_config.json")).unwrap();
    let again = folder.path().join("again");
    assert!(export(&from, &again, &[]).0);
    let generation = read(again.join("generation_config.json"));
    assert_eq!(generation["eos_token_id"], config["eos_token_id"]);
}
