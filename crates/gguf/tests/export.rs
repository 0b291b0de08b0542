//! Exported files, compared with their checkpoints by an independent reader.

mod reader;

use std::fs;
use std::path::{Path, PathBuf};

use reader::{Gguf, Value};
use serde_json::{Value as Json, json};
use smollm3_corpus::Tokenizer;
use smollm3_files::FilesError;
use smollm3_gguf::{GgufError, Precision, export};
use smollm3_model::Yarn;
use smollm3_model::hf::{Checkpoint, to_f32};
use tempfile::TempDir;

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";

/// The tiny model `name` with a tokenizer of 300 entries.
fn checkpoint(folder: &TempDir, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/model")
        .join(name);
    let to = folder.path().join(name);
    fs::create_dir(&to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let text = include_str!("../src/export.rs");
    let tokenizer = Tokenizer::train([text, text].into_iter(), 300).unwrap();
    tokenizer.save(to.join("tokenizer.json")).unwrap();
    fs::write(to.join("tokenizer_config.json"), tokenizer.config().to_string()).unwrap();
    fs::write(to.join("chat_template.jinja"), TEMPLATE).unwrap();
    to
}

fn written(folder: &TempDir, checkpoint: &Path, precision: Precision) -> Gguf {
    let out = folder.path().join("model.gguf");
    let opened = Checkpoint::open(checkpoint).unwrap();
    export(checkpoint, &opened, &opened.config, &out, precision).unwrap();
    let file = Gguf::read(&fs::read(&out).unwrap());
    fs::remove_file(out).unwrap();
    file
}

fn refused(folder: &TempDir, checkpoint: &Path) -> String {
    let out = folder.path().join("model.gguf");
    let opened = Checkpoint::open(checkpoint).unwrap();
    let error = export(checkpoint, &opened, &opened.config, &out, Precision::F16).unwrap_err();
    assert!(!out.exists() && !leftovers(folder), "{error}");
    error.to_string()
}

/// Whether anything lies beside the checkpoint's folder.
fn leftovers(folder: &TempDir) -> bool {
    fs::read_dir(folder.path())
        .unwrap()
        .any(|entry| entry.unwrap().path().is_file())
}

fn change(path: &Path, change: impl FnOnce(&mut Json)) {
    let mut json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// A tensor of the checkpoint.
fn stored(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let (info, bytes) = checkpoint.tensors.get(name).unwrap();
    to_f32(info.dtype, bytes).unwrap()
}

#[test]
fn a_smollm3_in_f16() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "a");
    let file = written(&folder, &path, Precision::F16);
    let checkpoint = Checkpoint::open(&path).unwrap();
    for (key, expected) in [
        ("general.architecture", Value::from("smollm3")),
        ("general.name", Value::from("model")),
        ("general.file_type", Value::Integer(1)),
        ("smollm3.block_count", Value::Integer(8)),
        ("smollm3.embedding_length", Value::Integer(64)),
        ("smollm3.feed_forward_length", Value::Integer(160)),
        ("smollm3.attention.head_count", Value::Integer(4)),
        ("smollm3.attention.head_count_kv", Value::Integer(2)),
        ("smollm3.attention.key_length", Value::Integer(16)),
        ("smollm3.rope.dimension_count", Value::Integer(16)),
        ("smollm3.vocab_size", Value::Integer(512)),
        (
            "smollm3.rope.freq_base",
            Value::Float(f64::from(checkpoint.config.rope_theta as f32)),
        ),
        ("tokenizer.ggml.model", Value::from("gpt2")),
        ("tokenizer.ggml.pre", Value::from("llama-bpe")),
        ("tokenizer.ggml.add_bos_token", Value::Integer(0)),
        ("tokenizer.chat_template", Value::from(TEMPLATE)),
    ] {
        assert_eq!(file.values.get(key), Some(&expected), "{key}");
    }
    // A tied head is not there twice.
    assert_eq!(file.tensors.len(), checkpoint.config.parameter_shapes().len());
    let embedding = &file.tensors["token_embd.weight"];
    assert_eq!(
        (embedding.shape.as_slice(), embedding.kind),
        ([64, 512].as_slice(), 1)
    );
    let halves = |values: Vec<f32>| -> Vec<f32> {
        values
            .into_iter()
            .map(|value| half::f16::from_f32(value).to_f32())
            .collect()
    };
    assert_eq!(
        embedding.values,
        halves(stored(&checkpoint, "model.embed_tokens.weight"))
    );
    assert_eq!(
        file.tensors["blk.7.ffn_norm.weight"].values,
        stored(&checkpoint, "model.layers.7.post_attention_layernorm.weight")
    );
    // Rows 0 and 8 of a head of 16 are turned together: they are neighbours here. Layer 3 has no RoPE.
    let row = |values: &[f32], row: usize| values[64 * row..64 * (row + 1)].to_vec();
    for (layer, order) in [(0, [0, 8, 1, 9]), (3, [0, 1, 2, 3])] {
        for (theirs, ours, heads) in [("attn_q", "q_proj", 4), ("attn_k", "k_proj", 2)] {
            let theirs = &file.tensors[&format!("blk.{layer}.{theirs}.weight")].values;
            let ours = halves(stored(
                &checkpoint,
                &format!("model.layers.{layer}.self_attn.{ours}.weight"),
            ));
            for head in 0..heads {
                for (to, from) in order.into_iter().enumerate() {
                    assert_eq!(
                        row(theirs, 16 * head + to),
                        row(&ours, 16 * head + from),
                        "layer {layer}, head {head}, row {to}"
                    );
                }
            }
        }
        let value = halves(stored(
            &checkpoint,
            &format!("model.layers.{layer}.self_attn.v_proj.weight"),
        ));
        assert_eq!(file.tensors[&format!("blk.{layer}.attn_v.weight")].values, value);
    }
}

#[test]
fn eight_bits_are_near() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "a");
    let file = written(&folder, &path, Precision::Q8_0);
    assert_eq!(file.values["general.file_type"], Value::Integer(7));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let down = &file.tensors["blk.2.ffn_down.weight"];
    assert_eq!((down.shape.as_slice(), down.kind), ([160, 64].as_slice(), 8));
    let original = stored(&checkpoint, "model.layers.2.mlp.down_proj.weight");
    for (stored, original) in down.values.chunks(32).zip(original.chunks(32)) {
        let largest = original.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (stored, original) in stored.iter().zip(original) {
            assert!(
                (stored - original).abs() <= largest / 127.0 * 0.6,
                "{stored} for {original}"
            );
        }
    }
    assert_eq!(file.tensors["output_norm.weight"].kind, 0);
}

#[test]
fn a_smollm3_with_rope_everywhere_is_a_llama() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "c");
    let file = written(&folder, &path, Precision::F16);
    assert_eq!(file.values["general.architecture"], Value::from("llama"));
    assert_eq!(file.values["llama.block_count"], Value::Integer(4));
    // Untied, with biases of the attention, whose rows are moved as well.
    let bias = stored(
        &Checkpoint::open(&path).unwrap(),
        "model.layers.3.self_attn.q_proj.bias",
    );
    let written = &file.tensors["blk.3.attn_q.bias"];
    assert_eq!(written.kind, 0);
    assert_eq!(written.values[..4], [bias[0], bias[8], bias[1], bias[9]]);
    assert!(file.tensors.contains_key("output.weight"));
    assert!(file.tensors.contains_key("blk.0.attn_output.bias"));
}

#[test]
fn yarn_keeps_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "b");
    let file = written(&folder, &path, Precision::F16);
    for (key, expected) in [
        ("type", Value::from("yarn")),
        ("factor", Value::Float(2.0)),
        ("original_context_length", Value::Integer(64)),
        ("yarn_beta_fast", Value::Float(32.0)),
    ] {
        assert_eq!(
            file.values[&format!("smollm3.rope.scaling.{key}")],
            expected,
            "{key}"
        );
    }
    let opened = Checkpoint::open(&path).unwrap();
    let mut config = opened.config.clone();
    config.rope_scaling = Some(Yarn {
        attention_factor: Some(1.5),
        ..Yarn::new(2.0, 64)
    });
    let error = export(
        &path,
        &opened,
        &config,
        &folder.path().join("x.gguf"),
        Precision::F16,
    )
    .unwrap_err();
    assert!(error.to_string().contains("attention factor"), "{error}");
}

#[test]
fn tokens_have_their_kinds_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "a");
    let tokenizer = Tokenizer::load(&path).unwrap();
    let file = written(&folder, &path, Precision::F16);
    let (Value::List(texts), Value::List(kinds)) = (
        &file.values["tokenizer.ggml.tokens"],
        &file.values["tokenizer.ggml.token_type"],
    ) else {
        panic!("lists");
    };
    assert_eq!((texts.len(), kinds.len()), (512, 512));
    for (text, kind) in [("<|im_end|>", 3), ("<think>", 4), ("z", 1), ("Ġ", 1)] {
        let id = tokenizer.inner().token_to_id(text).unwrap() as usize;
        assert_eq!(
            (&texts[id], &kinds[id]),
            (&Value::from(text), &Value::Integer(kind))
        );
    }
    assert_eq!(
        (&texts[300], &kinds[300]),
        (&Value::from("[PAD300]"), &Value::Integer(5))
    );
    let Value::List(merges) = &file.values["tokenizer.ggml.merges"] else {
        panic!("merges");
    };
    assert_eq!(merges.len(), 300 - 256 - 6);
    assert_eq!(
        file.values["tokenizer.ggml.eot_token_id"],
        Value::Integer(i64::from(tokenizer.info().im_end.unwrap()))
    );

    // A prompt that begins with a token of its own.
    change(&path.join("tokenizer_config.json"), |config| {
        config["add_bos_token"] = true.into();
    });
    let file = written(&folder, &path, Precision::F16);
    assert_eq!(file.values["tokenizer.ggml.add_bos_token"], Value::Integer(1));
    let begin = tokenizer.info().begin_of_text.unwrap();
    assert_eq!(
        file.values["tokenizer.ggml.bos_token_id"],
        Value::Integer(i64::from(begin))
    );
}

#[test]
fn ways_to_split_have_llama_cpps_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "a");
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let tokenizer = path.join("tokenizer.json");
    change(&tokenizer, |json| json["model"]["ignore_merges"] = false.into());
    let name = || written(&folder, &path, Precision::F16).values["tokenizer.ggml.pre"].clone();
    assert_eq!(name(), Value::from("smaug-bpe"));
    change(&tokenizer, |json| {
        json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [digits, level]});
    });
    assert_eq!(name(), Value::from("smollm"));
    change(&tokenizer, |json| {
        json["pre_tokenizer"] = level;
        json["normalizer"] = json!({"type": "Sequence", "normalizers": []});
    });
    assert_eq!(name(), Value::from("gpt-2"));
    change(&tokenizer, |json| {
        json["pre_tokenizer"]["add_prefix_space"] = true.into()
    });
    fs::remove_file(path.join("tokenizer_config.json")).unwrap();
    assert!(refused(&folder, &path).contains("way to split text"));
    change(&tokenizer, |json| {
        json["pre_tokenizer"]["add_prefix_space"] = false.into();
        json["normalizer"] = json!({"type": "NFC"});
    });
    assert!(refused(&folder, &path).contains("NFC"));
}

#[test]
fn what_llama_cpp_computes_differently_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "a");
    change(&path.join("config.json"), |config| {
        config["no_rope_layers"] = json!([1, 0, 1, 0, 1, 0, 1, 0]);
        config["no_rope_layer_interval"] = 2.into();
    });
    let error = refused(&folder, &path);
    assert!(error.contains("every 4th"), "{error}");
}

#[test]
fn a_file_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(&folder, "a");
    let out = folder.path().join("model.gguf");
    fs::write(&out, "mine").unwrap();
    let opened = Checkpoint::open(&path).unwrap();
    let error = export(&path, &opened, &opened.config, &out, Precision::F16).unwrap_err();
    assert!(
        matches!(error, GgufError::Files(FilesError::Exists { .. })),
        "{error}"
    );
    assert_eq!(fs::read(&out).unwrap(), b"mine");
}
