//! Hugging Face folders: written and read back bit for bit, sharded or not, and refused when damaged.

mod fixture;

use std::fs;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use fixture::{Values, devices, path};
use smollm3_model::hf::{self, Checkpoint, FileDtype, NamedTensor, TensorFiles, write_shards};
use smollm3_model::{ModelConfig, NamedParameters, ParameterError, Parameters, SmolLm3, named_parameters};
use smollm3_recipe::Spelling;

struct Bits(Vec<(String, Vec<u32>)>);

impl NamedParameters for Bits {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let values = param.val().into_data();
        self.0
            .push((name.to_owned(), values.iter::<f32>().map(f32::to_bits).collect()));
    }
}

fn bits(model: &SmolLm3) -> Vec<(String, Vec<u32>)> {
    let mut bits = Bits(Vec::new());
    named_parameters(model, &mut bits);
    bits.0
}

#[test]
fn save_and_open_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        for (_, device) in devices() {
            let checkpoint = Checkpoint::open(&path(&format!("model/{name}"))).unwrap();
            let model = checkpoint.model(&device).unwrap();
            hf::save(folder.path(), &checkpoint.config, &model, FileDtype::F32).unwrap();
            let again = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(again.config, checkpoint.config);
            assert_eq!(bits(&again.model(&device).unwrap()), bits(&model));
        }
    }
}

#[test]
fn parameter_names_are_those_of_the_hub() {
    let (_, device) = devices().remove(0);
    for name in ["a", "c"] {
        let checkpoint = Checkpoint::open(&path(&format!("model/{name}"))).unwrap();
        let mut names: Vec<_> = bits(&checkpoint.model(&device).unwrap())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        names.sort();
        assert_eq!(
            names,
            Values::read(&format!("model/{name}/model.safetensors")).names()
        );
    }
}

#[test]
fn both_spellings_describe_the_same_model() {
    for name in ["a", "b", "c"] {
        let read = |file: &str| ModelConfig::from_hf_file(&path(&format!("model/{name}/{file}"))).unwrap();
        let config = read("config.json");
        assert_eq!(config, read("config.transformers5.json"), "model {name}");
        for spelling in [Spelling::Transformers4, Spelling::Transformers5] {
            let text = config.to_hf_json(spelling, "float32").to_string();
            assert_eq!(
                ModelConfig::from_hf_json(&text, Path::new("written")).unwrap(),
                config
            );
        }
    }
}

#[test]
fn one_file_comes_before_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let write = |stem: &str, value: f32| {
        let tensor = NamedTensor {
            name: "weight".to_owned(),
            shape: vec![1],
            dtype: FileDtype::F32,
            values: hf::Values::Here(vec![value]),
        };
        write_shards(folder.path(), stem, &[tensor], usize::MAX).unwrap();
    };
    let value = || {
        let files = TensorFiles::open(folder.path(), "model").unwrap();
        files.elements("weight", &[1], 0..1).unwrap()[0]
    };
    let index = |text: &str| fs::write(folder.path().join("model.safetensors.index.json"), text).unwrap();
    write("model-00001-of-00001", 1.0);
    index(r#"{"weight_map": {"weight": "model-00001-of-00001.safetensors"}}"#);
    assert_eq!(value(), 1.0);
    // What `save_pretrained` leaves when a model is saved once in shards and once as a whole.
    write("model", 2.0);
    assert_eq!(value(), 2.0);
    fs::remove_file(folder.path().join("model-00001-of-00001.safetensors")).unwrap();
    assert_eq!(value(), 2.0);
    index("{");
    assert_eq!(value(), 2.0);
}

#[test]
fn shards_hold_what_one_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let source = TensorFiles::open(&path("model/a"), "model").unwrap();
    let config = ModelConfig::from_hf_file(&path("model/a/config.json")).unwrap();
    let tensors: Vec<NamedTensor> = config
        .parameter_shapes()
        .into_iter()
        .map(|(name, shape)| {
            let data = source.parameter(&name, &shape).unwrap();
            NamedTensor {
                name,
                shape,
                dtype: FileDtype::F32,
                values: hf::Values::Here(data.iter::<f32>().collect()),
            }
        })
        .collect();
    write_shards(folder.path(), "model", &tensors, 200_000).unwrap();
    assert!(folder.path().join("model.safetensors.index.json").exists());
    let shards = fs::read_dir(folder.path()).unwrap().count() - 1;
    assert!(shards > 3, "{shards} shards");
    let again = TensorFiles::open(folder.path(), "model").unwrap();
    assert!(again.names().eq(source.names()));
    for (name, shape) in config.parameter_shapes() {
        let read = |files: &TensorFiles| {
            files
                .parameter(&name, &shape)
                .unwrap()
                .iter::<f32>()
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&again), read(&source), "{name}");
    }
}

/// A copy of model a whose tensors went through `change`.
fn altered(change: impl Fn(String, Vec<usize>) -> Option<(String, Vec<usize>)>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(path("model/a/config.json"), folder.path().join("config.json")).unwrap();
    let config = ModelConfig::from_hf_file(&path("model/a/config.json")).unwrap();
    let tensors: Vec<NamedTensor> = config
        .parameter_shapes()
        .into_iter()
        .filter_map(|(name, shape)| change(name, shape))
        .map(|(name, shape)| {
            let count = shape.iter().product();
            NamedTensor {
                name,
                shape,
                dtype: FileDtype::Bf16,
                values: hf::Values::Later(Box::new(move || vec![0.5; count])),
            }
        })
        .collect();
    write_shards(folder.path(), "model", &tensors, usize::MAX).unwrap();
    folder
}

#[track_caller]
fn refused(folder: &Path, expected: &[&str]) {
    let message = Checkpoint::open(folder).unwrap_err().to_string();
    for part in expected {
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
}

#[test]
fn damaged_checkpoints_are_refused() {
    let norm = "model.layers.2.input_layernorm.weight";
    let missing = altered(|name, shape| (name != norm).then_some((name, shape)));
    refused(missing.path(), &["is missing", norm, "model.safetensors"]);

    let misnamed = altered(|name, shape| {
        Some((
            name.replace("layers.2.input_layernorm", "layers.2.input_layer_norm"),
            shape,
        ))
    });
    refused(
        misnamed.path(),
        &["is missing", norm, "model.layers.2.input_layer_norm.weight"],
    );

    let misshaped = altered(|name, shape| {
        Some(if name == norm {
            (name, vec![63])
        } else {
            (name, shape)
        })
    });
    refused(misshaped.path(), &[norm, "[63]", "[64]"]);

    let superfluous = altered(|name, shape| Some((name, shape)));
    as_shard(superfluous.path());
    let extra = NamedTensor {
        name: "model.layers.9.mlp.up_proj.weight".to_owned(),
        shape: vec![1],
        dtype: FileDtype::F32,
        values: hf::Values::Here(vec![0.0]),
    };
    let mut json: serde_json::Value = serde_json::json!({ "weight_map": {} });
    for (name, _) in ModelConfig::from_hf_file(&path("model/a/config.json"))
        .unwrap()
        .parameter_shapes()
    {
        json["weight_map"][name] = "shard.safetensors".into();
    }
    write_shards(superfluous.path(), "extra", &[extra], usize::MAX).unwrap();
    json["weight_map"]["model.layers.9.mlp.up_proj.weight"] = "extra.safetensors".into();
    fs::write(
        superfluous.path().join("model.safetensors.index.json"),
        json.to_string(),
    )
    .unwrap();
    refused(
        superfluous.path(),
        &["model.layers.9.mlp.up_proj.weight", "no place"],
    );

    json["weight_map"]["model.layers.9.mlp.up_proj.weight"] = "../model.safetensors".into();
    fs::write(
        superfluous.path().join("model.safetensors.index.json"),
        json.to_string(),
    )
    .unwrap();
    refused(superfluous.path(), &["not the name of a file in this folder"]);

    let truncated = altered(|name, shape| Some((name, shape)));
    let file = truncated.path().join("model.safetensors");
    let length = fs::metadata(&file).unwrap().len();
    for keep in [length - 1, length / 2, 100, 7, 0] {
        fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(keep)
            .unwrap();
        let message = Checkpoint::open(truncated.path()).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{keep} bytes: {message}");
    }

    fs::remove_file(&file).unwrap();
    refused(truncated.path(), &["no model.safetensors"]);
}

#[test]
fn impossible_configurations_are_refused() {
    let text = fs::read_to_string(path("model/a/config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases: [(&str, serde_json::Value, &str); 11] = [
        (
            "num_key_value_heads",
            3.into(),
            "not a multiple of num_key_value_heads = 3",
        ),
        (
            "num_attention_heads",
            7.into(),
            "not a multiple of num_attention_heads = 7",
        ),
        ("num_attention_heads", 0.into(), "num_attention_heads is 0"),
        ("vocab_size", 0.into(), "vocab_size is 0"),
        ("model_type", "qwen3".into(), "\"qwen3\" is not supported"),
        ("hidden_act", "gelu".into(), "\"gelu\" is not supported"),
        ("rope_theta", (-1.0).into(), "rope_theta = -1"),
        (
            "no_rope_layers",
            serde_json::json!([1, 0]),
            "2 entries for num_hidden_layers = 8",
        ),
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "llama3", "factor": 8.0}),
            "\"llama3\" is not supported",
        ),
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "default", "rope_theta": 7.0}),
            "rope_scaling.rope_theta = 7 is read by transformers 5 and ignored by 4",
        ),
        ("eos_token_id", 512.into(), "outside the vocabulary"),
    ];
    for (key, value, expected) in cases {
        let mut changed = json.clone();
        changed[key] = value;
        let message = ModelConfig::from_hf_json(&changed.to_string(), Path::new("config.json"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(expected),
            "{key}: {message:?} should contain {expected:?}"
        );
    }
    for (key, value) in [
        ("rope_parameters", serde_json::json!({ "rope_theta": 1.0 })),
        (
            "rope_scaling",
            serde_json::json!({ "rope_type": "yarn", "type": "default", "factor": 2.0 }),
        ),
    ] {
        let mut both = json.clone();
        both[key] = value;
        let message = ModelConfig::from_hf_json(&both.to_string(), Path::new("config.json"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("contradict"), "{key}: {message}");
    }
}

#[test]
fn what_transformers_takes_for_granted() {
    let text = fs::read_to_string(path("model/a/config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let read = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut json = json.clone();
        change(json.as_object_mut().unwrap());
        ModelConfig::from_hf_json(&json.to_string(), Path::new("config.json")).unwrap()
    };
    let same = read(&|_| {});
    let theta = same.rope_theta;
    let inner = serde_json::json!({"rope_type": "default", "rope_theta": theta});
    assert_eq!(
        read(&|json| drop(json.insert("hidden_act".to_owned(), "swish".into()))),
        same
    );
    assert_eq!(
        read(&|json| drop(json.insert("rope_scaling".to_owned(), inner.clone()))),
        same
    );
    for (kind, context) in [("smollm3", 32_768), ("llama", 2_048)] {
        let found = read(&|json| {
            json.remove("max_position_embeddings");
            json.insert("model_type".to_owned(), kind.into());
        });
        assert_eq!(found.max_position_embeddings, context);
    }
}

/// Zeros, which cost nothing until they are touched.
struct Zeros;

impl Parameters for Zeros {
    fn parameter(&self, _name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        Ok(TensorData::new(
            vec![0f32; shape.iter().product()],
            shape.to_vec(),
        ))
    }
}

struct Count {
    tensors: usize,
    numbers: usize,
}

impl NamedParameters for Count {
    fn visit<const D: usize>(&mut self, _name: &str, param: &Param<Tensor<D>>) {
        self.tensors += 1;
        self.numbers += param.val().shape().num_elements();
    }
}

#[test]
fn the_3b_model_has_its_parameters() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/smollm3-3b.toml");
    let config = ModelConfig::from_toml_file(&file).unwrap();
    assert_eq!(config.parameters(), 3_075_098_624);
    assert_eq!(config.parameter_shapes().len(), 326);
    let nope: Vec<usize> = (0..36).filter(|layer| !config.rope_layers[*layer]).collect();
    assert_eq!(nope, [3, 7, 11, 15, 19, 23, 27, 31, 35]);

    let (_, device) = devices()
        .into_iter()
        .find(|(backend, _)| *backend == "flex")
        .unwrap();
    let model = SmolLm3::new(&config, &Zeros, &device).unwrap();
    let mut count = Count {
        tensors: 0,
        numbers: 0,
    };
    named_parameters(&model, &mut count);
    assert_eq!((count.tensors, count.numbers), (326, 3_075_098_624));
}

/// Renames the one file of a folder, so that an index is needed.
fn as_shard(folder: &Path) {
    fs::rename(folder.join("model.safetensors"), folder.join("shard.safetensors")).unwrap();
}

#[test]
fn a_tied_model_has_one_head() {
    let tensor = |name: &str, dtype, values: Vec<f32>| NamedTensor {
        name: name.to_owned(),
        shape: vec![512, 64],
        dtype,
        values: hf::Values::Here(values),
    };
    let config = ModelConfig::from_hf_file(&path("model/a/config.json")).unwrap();
    assert!(config.tie_word_embeddings);
    let with_head = |dtype, last: f32| {
        let folder = altered(|name, shape| Some((name, shape)));
        as_shard(folder.path());
        let mut values = vec![0.5; 512 * 64];
        values[512 * 64 - 1] = last;
        write_shards(
            folder.path(),
            "head",
            &[tensor("lm_head.weight", dtype, values)],
            usize::MAX,
        )
        .unwrap();
        let mut json = serde_json::json!({ "weight_map": {"lm_head.weight": "head.safetensors"} });
        for (name, _) in config.parameter_shapes() {
            json["weight_map"][name] = "shard.safetensors".into();
        }
        fs::write(
            folder.path().join("model.safetensors.index.json"),
            json.to_string(),
        )
        .unwrap();
        folder
    };
    // The embedding once more, in its own format and in another.
    for dtype in [FileDtype::Bf16, FileDtype::F32] {
        Checkpoint::open(with_head(dtype, 0.5).path()).unwrap();
        refused(
            with_head(dtype, 0.75).path(),
            &["lm_head.weight differs", "\"tie_word_embeddings\": false"],
        );
    }

    // What the message asks for keeps the head.
    let folder = with_head(FileDtype::F32, 0.75);
    let file = folder.path().join("config.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["tie_word_embeddings"] = false.into();
    fs::write(&file, json.to_string()).unwrap();
    let model = Checkpoint::open(folder.path())
        .unwrap()
        .model(&devices()[0].1)
        .unwrap();
    let head = bits(&model)
        .into_iter()
        .find(|(name, _)| name == "lm_head.weight")
        .unwrap();
    assert_eq!(head.1.last(), Some(&0.75f32.to_bits()));
}

#[test]
fn settings_that_would_change_the_numbers_are_refused_by_name() {
    let text = fs::read_to_string(path("model/a/config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let yarn = |key: &str, value: serde_json::Value| {
        let mut settings = serde_json::json!({"rope_type": "yarn", "factor": 4.0});
        settings[key] = value;
        settings
    };
    for (key, value, words) in [
        ("rope_scaling", yarn("attn_factor", 0.8.into()), "\"attn_factor\""),
        ("rope_scaling", yarn("mscal", 1.0.into()), "\"mscal\""),
        (
            "rope_scaling",
            yarn("partial_rotary_factor", 0.5.into()),
            "partial_rotary_factor = 0.5",
        ),
        ("rope_scaling", yarn("mscale_all_dim", (-100.0).into()), ""),
        (
            "rope_scaling",
            serde_json::json!({"type": "longrope", "factor": 4.0}),
            "\"longrope\"",
        ),
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "dynamic", "factor": 4.0}),
            "\"dynamic\"",
        ),
        (
            "rope_parameters",
            serde_json::json!({"full_attention": {"rope_theta": 1e4}}),
            "without a name",
        ),
        ("partial_rotary_factor", 0.5.into(), "partial_rotary_factor = 0.5"),
        (
            "quantization_config",
            serde_json::json!({"quant_method": "gptq"}),
            "quantized",
        ),
        (
            "layer_types",
            serde_json::json!(["full_attention", "sliding_attention"]),
            "\"sliding_attention\"",
        ),
        ("eos_token_id", serde_json::json!([0, "end"]), "a token id"),
    ] {
        let mut changed = json.clone();
        changed[key] = value;
        let read = ModelConfig::from_hf_json(&changed.to_string(), Path::new("config.json"));
        if words.is_empty() {
            // Without `mscale` beside it, it has no effect in transformers either.
            read.unwrap();
            continue;
        }
        let message = read.unwrap_err().to_string();
        assert!(message.contains(words), "{key}: {message}");
    }
    let mut list = json.clone();
    list["eos_token_id"] = serde_json::json!([5, 0]);
    list["pad_token_id"] = (-1).into();
    let config = ModelConfig::from_hf_json(&list.to_string(), Path::new("config.json")).unwrap();
    assert_eq!((config.eos_token_id, config.pad_token_id), (Some(5), None));
}
