//! `adapter_config.json`, as Python's PEFT writes it beside an adapter (LoRA).
//!
//! Reads what PEFT 0.18 and 0.21 write. A key that would make it compute anything but `scale · B·A·x` on the plain matrices
//! of the layers is refused by name, and so is an unknown key with a value: an adapter that loads and computes something
//! else is worse than an error.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::lora::{Lora, scale};

/// Adapters have their own folder in a checkpoint: next to merged weights, transformers and PEFT would apply them twice.
pub const ADAPTER_FOLDER: &str = "adapter";

/// The name of the file.
pub const PEFT_CONFIG: &str = "adapter_config.json";

/// An adapter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}", path = .path.display())]
pub struct PeftError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it and what to do instead.
    pub message: String,
}

/// An adapter's settings, and its base model.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftConfig {
    /// Its rank.
    pub rank: usize,
    /// The product of its matrices is multiplied by `alpha / rank`, or `alpha / √rank`.
    pub alpha: f64,
    /// Whether it is the latter.
    pub rslora: bool,
    /// Its base model: a folder or a name on the Hub.
    pub base: Option<String>,
    /// The revision of that model on the Hub.
    pub revision: Option<String>,
}

/// Keys that change no number, whatever their value: who wrote the file, how the adapter was trained, and its matrices,
/// which its tensors name too.
const WITHOUT_EFFECT: [&str; 12] = [
    "auto_mapping",
    "peft_version",
    "task_type",
    "inference_mode",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "megatron_core",
    "qalora_group_size",
    "eva_config",
];

/// Initialisations that leave the base as it is; others (PiSSA, OLoRA, CorDA, LoftQ) train on a changed one.
const INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl PeftConfig {
    /// Reads `adapter_config.json` in `folder`.
    ///
    /// # Errors
    /// It cannot be read, is not a LoRA adapter, or needs an unsupported feature, which is named.
    pub fn read(folder: &Path) -> Result<Self, PeftError> {
        let path = folder.join(PEFT_CONFIG);
        let parsed = fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string()))
            .and_then(|json| match json {
                Value::Object(keys) => Self::of(&keys),
                _ => Err("this is not a JSON object".to_owned()),
            });
        parsed.map_err(|message| PeftError { path, message })
    }

    fn of(keys: &Map<String, Value>) -> Result<Self, String> {
        match keys.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => {
                return Err(format!(
                    "peft_type is {}; only adapters of type \"LORA\" are read",
                    other.map_or("missing".to_owned(), |kind| format!("\"{kind}\""))
                ));
            }
        }
        let text = |key: &str| keys.get(key).and_then(Value::as_str).map(str::to_owned);
        for (key, value) in keys {
            let is_off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            let is_known = match key.as_str() {
                "peft_type" | "r" | "lora_alpha" | "use_rslora" | "base_model_name_or_path" | "revision" => {
                    true
                }
                "bias" => value == "none",
                "init_lora_weights" => {
                    value == true || value.as_str().is_some_and(|init| INITS.contains(&init))
                }
                key => WITHOUT_EFFECT.contains(&key),
            };
            if !(is_off || is_known) {
                return Err(format!(
                    "`{key}` = {value} is not supported; {}",
                    remedy(key)
                        .unwrap_or("merge the adapter in Python (PEFT: merge_and_unload) and save that")
                ));
            }
        }
        let rank = keys.get("r").and_then(Value::as_u64).filter(|rank| *rank > 0);
        let alpha = keys.get("lora_alpha").and_then(Value::as_f64);
        let config = Self {
            rank: rank.ok_or("`r` is not a rank; a whole number above 0 is expected")? as usize,
            alpha: alpha.ok_or("`lora_alpha` is not a number")?,
            rslora: keys.get("use_rslora") == Some(&Value::Bool(true)),
            base: text("base_model_name_or_path").filter(|base| !base.is_empty()),
            revision: text("revision"),
        };
        Ok(config)
    }

    /// Whether a folder holds an adapter and no whole model.
    pub fn is_adapter(folder: &Path) -> bool {
        let has = |name: &str| folder.join(name).is_file();
        let has_weights = has("model.safetensors") || has("model.safetensors.index.json");
        has(PEFT_CONFIG) && !has_weights && (!has("config.json") || has("adapter_model.safetensors"))
    }

    /// What the product of its matrices is multiplied by.
    pub fn scale(&self) -> f64 {
        scale(self.rank, self.alpha, self.rslora)
    }

    /// `adapter_config.json` of adapters of a stage, of the model `base` at a revision of the Hub.
    pub fn json(lora: &Lora, base: &str, revision: Option<&str>) -> Value {
        let alpha = match lora.alpha.fract() == 0.0 && lora.alpha < 1e15 {
            true => json!(lora.alpha as u64),
            false => json!(lora.alpha),
        };
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "revision": revision,
            "inference_mode": true,
            "r": lora.rank,
            "lora_alpha": alpha,
            "use_rslora": lora.rslora,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "modules_to_save": null,
            "target_modules": lora.targets,
        })
    }
}

/// What to do about a key, if more than merging in Python.
fn remedy(key: &str) -> Option<&'static str> {
    match key {
        "rank_pattern" | "alpha_pattern" => Some(
            "all matrices have one rank and one alpha here; merge the adapter in Python (PEFT: merge_and_unload)",
        ),
        "init_lora_weights" => Some(
            "such an adapter belongs to changed base weights; in Python, save it with \
             path_initial_model_for_weight_conversion",
        ),
        _ => None,
    }
}
