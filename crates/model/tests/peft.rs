//! Adapters that Python's PEFT has written, read to the bit; what is not supported, refused by name.
//!
//! The files are made by `scripts/verify/adapters.py --fixture`.

mod fixture;

use std::fs;
use std::path::Path;

use fixture::{Values, assert_close, path};
use serde_json::{Value, json};
use smollm3_model::Parameters;
use smollm3_model::hf::{AdapterFiles, Checkpoint};
use smollm3_recipe::{LoraInit, PeftConfig};

const RANK: usize = 2;

fn floats(source: &impl Parameters, name: &str, shape: &[usize]) -> Vec<f32> {
    source.parameter(name, shape).unwrap().iter().collect()
}

#[test]
fn an_adapter_is_read_to_the_bit_and_merged_as_peft_merges_it() {
    let base = Checkpoint::open(&path("model/a")).unwrap();
    let folder = path("model/peft");
    assert!(PeftConfig::is_adapter(&folder) && !PeftConfig::is_adapter(&path("model/a")));
    let adapter = AdapterFiles::open(&folder, &base.config).unwrap();
    assert_eq!(adapter.config.base.as_deref(), Some("../a"));
    assert!((adapter.config.scale() - 6.0 / 2f64.sqrt()).abs() < 1e-12);
    let lora = adapter.lora(&base.config).unwrap();
    assert_eq!(
        (lora.rank, lora.alpha, lora.rslora, lora.init),
        (2, 6.0, true, LoraInit::Adapter)
    );
    assert_eq!(lora.targets, ["down_proj", "q_proj", "v_proj"]);

    let stored = Values::read("model/peft/adapter_model.safetensors");
    let names = stored.names();
    assert_eq!(names.len(), 8 * 3 * 2);
    for name in names {
        let found = floats(&adapter, &name, &stored.shape(&name));
        let same = found
            .iter()
            .zip(stored.f32(&name))
            .all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name}");
    }

    let merged = adapter.merged(&base.tensors);
    let expected = Values::read("model/peft/merged.safetensors");
    for name in expected.names() {
        let shape = expected.shape(&name);
        let found = floats(&merged, &name, &shape);
        assert_close(&name, &found, &expected.f32(&name), 1e-6);
        assert_ne!(found, floats(&base.tensors, &name, &shape), "{name}");
    }
    let untouched = "model.layers.3.self_attn.k_proj.weight";
    assert_eq!(
        floats(&merged, untouched, &[32, 64]),
        floats(&base.tensors, untouched, &[32, 64])
    );
}

/// The fixture with other keys in `adapter_config.json`.
fn changed(folder: &Path, keys: &Value) {
    let from = path("model/peft");
    fs::copy(
        from.join("adapter_model.safetensors"),
        folder.join("adapter_model.safetensors"),
    )
    .unwrap();
    let text = fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let base = Checkpoint::open(&path("model/a")).unwrap().config;
    let folder = tempfile::tempdir().unwrap();
    let message = || match AdapterFiles::open(folder.path(), &base) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    for (keys, words) in [
        (
            json!({"use_dora": true}),
            vec!["adapter_config.json", "`use_dora` = true is not supported"],
        ),
        (json!({"bias": "all"}), vec!["`bias` = \"all\" is not supported"]),
        (json!({"modules_to_save": ["lm_head"]}), vec!["`modules_to_save`"]),
        (
            json!({"rank_pattern": {"q_proj": 8}}),
            vec!["`rank_pattern`", "one rank"],
        ),
        (json!({"alpha_pattern": {"q_proj": 8}}), vec!["`alpha_pattern`"]),
        (
            json!({"init_lora_weights": "pissa"}),
            vec!["`init_lora_weights`", "changed base weights"],
        ),
        (
            json!({"trainable_token_indices": [3]}),
            vec!["`trainable_token_indices`"],
        ),
        (json!({"of_tomorrow": {"a": 1}}), vec!["`of_tomorrow`"]),
        (json!({"peft_type": "IA3"}), vec!["peft_type is \"IA3\""]),
        (json!({"peft_type": null}), vec!["peft_type is missing"]),
        (json!({"r": 0}), vec!["`r` is not a rank"]),
        (json!({"lora_alpha": "16"}), vec!["`lora_alpha` is not a number"]),
        (json!({"r": 4}), vec!["lora_A.weight", "[2,"]),
    ] {
        changed(folder.path(), &keys);
        let found = message();
        for word in words {
            assert!(found.contains(word), "{keys}: {found}");
        }
    }
    for harmless in [
        json!({"target_modules": "all-linear", "lora_dropout": 0.1, "task_type": null}),
        json!({"init_lora_weights": "gaussian", "layers_to_transform": [0, 1], "of_tomorrow": {}}),
    ] {
        changed(folder.path(), &harmless);
        assert_eq!(message(), "", "{harmless}");
    }
    fs::write(folder.path().join("adapter_config.json"), "[]").unwrap();
    assert!(message().contains("not a JSON object"));
    fs::write(folder.path().join("adapter_config.json"), "{").unwrap();
    assert!(message().contains("adapter_config.json"));
    changed(folder.path(), &json!({}));
    fs::remove_file(folder.path().join("adapter_model.safetensors")).unwrap();
    assert!(message().contains("adapter_model.safetensors"));
    fs::write(folder.path().join("adapter_model.bin"), "").unwrap();
    assert!(message().contains(".bin file"));
}

#[test]
fn tensors_that_have_no_place_are_named() {
    let base = Checkpoint::open(&path("model/a")).unwrap().config;
    let folder = tempfile::tempdir().unwrap();
    for (name, words) in [
        (
            "base_model.model.model.embed_tokens.lora_embedding_A",
            "embedding",
        ),
        ("base_model.model.lm_head.lora_A.weight", "the head"),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
            "DoRA",
        ),
        (
            "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight",
            "in 8 layers",
        ),
        (
            "base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight",
            "no such matrix",
        ),
        (
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            "is missing",
        ),
    ] {
        changed(folder.path(), &json!({}));
        let tensor = smollm3_model::hf::NamedTensor {
            name: name.to_owned(),
            shape: vec![RANK, 64],
            dtype: smollm3_model::hf::FileDtype::F32,
            values: smollm3_model::hf::Values::Here(vec![0.5; RANK * 64]),
        };
        smollm3_model::hf::write_shards(folder.path(), "adapter_model", &[tensor], usize::MAX).unwrap();
        let message = AdapterFiles::open(folder.path(), &base).unwrap_err().to_string();
        assert!(
            message.contains(words) && message.contains("model.layers") | message.contains("model."),
            "{message}"
        );
    }
}
