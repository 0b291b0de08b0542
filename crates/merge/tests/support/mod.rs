//! Tiny checkpoints, written and read back.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use smollm3_merge::{MergeError, MergeReport, MergeSettings, merge};
use smollm3_model::ModelConfig;
use smollm3_model::hf::{FileDtype, NamedTensor, TensorFiles, Values, write_shards};

/// A file below `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// A tied model of 1 layer and 344 numbers.
pub fn config() -> Value {
    json!({
        "model_type": "smollm3", "vocab_size": 24, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rope_theta": 5e4,
        "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "torch_dtype": "float32",
    })
}

/// [`config`] with one key changed.
pub fn config_with(key: &str, value: impl Into<Value>) -> Value {
    let mut config = config();
    config[key] = value.into();
    config
}

/// Tensors for [`checkpoint`], with numbers by name and place.
pub fn tensors(config: &Value, dtype: FileDtype, value: impl Fn(&str, usize) -> f32) -> Vec<NamedTensor> {
    let shapes = ModelConfig::from_hf_json(&config.to_string(), Path::new("config.json")).unwrap();
    let tensor = |(name, shape): (String, Vec<usize>)| NamedTensor {
        values: Values::Here(
            (0..shape.iter().product())
                .map(|place| value(&name, place))
                .collect(),
        ),
        name,
        shape,
        dtype,
    };
    shapes.parameter_shapes().into_iter().map(tensor).collect()
}

/// Writes a checkpoint folder.
pub fn checkpoint(folder: &Path, config: &Value, tensors: &[NamedTensor]) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    write_shards(folder, "model", tensors, usize::MAX).unwrap();
    folder.to_owned()
}

/// A checkpoint of [`config`] whose numbers depend on `seed`.
pub fn seeded(folder: &Path, seed: u32, dtype: FileDtype) -> PathBuf {
    let tensors = tensors(&config(), dtype, |name, place| number(seed, name, place));
    checkpoint(folder, &config(), &tensors)
}

/// Something between -1 and 1.
pub fn number(seed: u32, name: &str, place: usize) -> f32 {
    let hash = blake3::hash(format!("{seed} {name} {place}").as_bytes());
    let bits = u32::from_le_bytes(hash.as_bytes()[..4].try_into().unwrap());
    (f64::from(bits) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
}

/// [`merge()`] without progress.
pub fn run(
    parents: &[(PathBuf, f64)],
    settings: &MergeSettings,
    out: &Path,
) -> Result<MergeReport, MergeError> {
    merge(parents, settings, out, &mut |_, _| ControlFlow::Continue(()))
}

/// Format and bytes of every tensor of a folder.
pub fn read(folder: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let files = TensorFiles::open(folder, "model").unwrap();
    let tensor = |name: &str| {
        let (info, bytes) = files.get(name).unwrap();
        (name.to_owned(), (info.dtype.to_string(), bytes.to_vec()))
    };
    files.names().map(tensor).collect()
}

/// Names of the files in a folder.
pub fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A `tokenizer.json` with these tokens.
pub fn tokenizer(folder: &Path, tokens: &[(&str, u64)], added: &[(&str, u64)]) {
    let vocab: BTreeMap<_, _> = tokens.iter().copied().collect();
    let added: Vec<Value> = added
        .iter()
        .map(|(token, id)| json!({ "id": id, "content": token, "special": true }))
        .collect();
    let json = json!({ "model": { "type": "BPE", "vocab": vocab, "merges": [] }, "added_tokens": added });
    fs::write(folder.join("tokenizer.json"), json.to_string()).unwrap();
}
