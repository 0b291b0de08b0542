//! `config.json` of a Hugging Face checkpoint, read and written.
//!
//! transformers 4 puts the rotary settings into `rope_theta` and `rope_scaling`, transformers 5 into
//! `rope_parameters`; both are read, and both can be written. Keys that do not change the numbers
//! (`use_cache`, `attention_dropout` = 0, …) are ignored; a key that would change them and is not supported is
//! refused, because a model that loads and computes something else is worse than an error.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model_config::{ModelConfig, ModelConfigError, ModelType, head_dim, read, rope_layers};
use crate::yarn::Yarn;

/// Which spelling of the rotary settings to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spelling {
    /// `rope_theta` and `rope_scaling`: read by transformers 4 and 5 and by most other tools.
    #[default]
    Transformers4,
    /// `rope_parameters`.
    Transformers5,
}

/// A token id of `config.json` or `generation_config.json`: absent, one, or a list. Negative ids mean absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<OneOrMany>")]
pub struct TokenIds(pub Vec<u32>);

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a token id must be a whole number, a list of them, or null"
)]
enum OneOrMany {
    One(i64),
    Many(Vec<i64>),
}

impl From<Option<OneOrMany>> for TokenIds {
    fn from(ids: Option<OneOrMany>) -> Self {
        let ids = match ids {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
        };
        // An id past u32 is also past every vocabulary, and is refused as such.
        let id = |id: i64| u32::try_from(id).unwrap_or(u32::MAX);
        Self(ids.into_iter().filter(|id| *id >= 0).map(id).collect())
    }
}

impl TokenIds {
    fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }
}

#[derive(Deserialize)]
struct Family {
    model_type: String,
}

#[derive(Deserialize)]
struct HfConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParameters>,
    no_rope_layers: Option<Vec<u8>>,
    no_rope_layer_interval: Option<usize>,
    rms_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    initializer_range: Option<f64>,
    hidden_act: Option<String>,
    attention_dropout: Option<f64>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    partial_rotary_factor: Option<f64>,
    quantization_config: Option<Value>,
    #[serde(default)]
    bos_token_id: TokenIds,
    #[serde(default)]
    eos_token_id: TokenIds,
    #[serde(default)]
    pad_token_id: TokenIds,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_type: Option<String>,
    /// The older name of `rope_type`.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    /// Keys without a meaning here.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl ModelConfig {
    /// Reads a checkpoint's `config.json`.
    ///
    /// # Errors
    /// The file cannot be read, describes a family or an option that this project does not compute, or its
    /// numbers do not make a model.
    pub fn from_hf_file(path: &Path) -> Result<Self, ModelConfigError> {
        Self::from_hf_json(&read(path)?, path)
    }

    /// Parses the text of a `config.json`; `path` is used in messages.
    ///
    /// # Errors
    /// As [`Self::from_hf_file`].
    pub fn from_hf_json(text: &str, path: &Path) -> Result<Self, ModelConfigError> {
        let parse = |error: serde_json::Error| ModelConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        };
        let invalid = |message| ModelConfigError::Invalid {
            path: path.to_owned(),
            message,
        };
        // First of all: another family has other fields.
        let Family { model_type } = serde_json::from_str(text).map_err(parse)?;
        let family = supported(&model_type).map_err(invalid)?;
        let hf: HfConfig = serde_json::from_str(text).map_err(parse)?;
        hf.into_config(family).map_err(invalid)?.validated(path)
    }

    /// The `config.json` of this architecture.
    pub fn to_hf_json(&self, spelling: Spelling, dtype: &str) -> Value {
        let architecture = match self.model_type {
            ModelType::SmolLM3 => "SmolLM3ForCausalLM",
            ModelType::Llama => "LlamaForCausalLM",
        };
        let mut config = json!({
            "architectures": [architecture],
            "model_type": self.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "initializer_range": self.initializer_range,
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "use_cache": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "pad_token_id": self.pad_token_id,
        });
        let mut set = |key: &str, value: Value| {
            if let Some(object) = config.as_object_mut() {
                object.insert(key.to_owned(), value);
            }
        };
        let mut scaling = self.rope_scaling.as_ref().map(yarn_to_json);
        match spelling {
            Spelling::Transformers4 => {
                set("torch_dtype", dtype.into());
                set("rope_theta", self.rope_theta.into());
                set("rope_scaling", scaling.map_or(Value::Null, Value::Object));
            }
            Spelling::Transformers5 => {
                set("dtype", dtype.into());
                let parameters = scaling.get_or_insert_with(|| {
                    Map::from_iter([("rope_type".to_owned(), Value::from("default"))])
                });
                parameters.insert("rope_theta".to_owned(), self.rope_theta.into());
                set("rope_parameters", Value::Object(std::mem::take(parameters)));
            }
        }
        if self.model_type == ModelType::SmolLM3 {
            set(
                "no_rope_layers",
                self.rope_layers.iter().map(|rope| u8::from(*rope)).collect(),
            );
            if let Some(interval) = self.no_rope_layer_interval().filter(|interval| *interval > 0) {
                set("no_rope_layer_interval", interval.into());
            }
            set("use_sliding_window", false.into());
        }
        config
    }
}

fn yarn_to_json(yarn: &Yarn) -> Map<String, Value> {
    // Older readers look for `type`.
    let mut object = Map::from_iter(["rope_type", "type"].map(|key| (key.to_owned(), "yarn".into())));
    if let Ok(Value::Object(settings)) = serde_json::to_value(yarn) {
        object.extend(settings);
    }
    object
}

/// The family of a `model_type`.
fn supported(model_type: &str) -> Result<ModelType, String> {
    match model_type {
        "smollm3" => Ok(ModelType::SmolLM3),
        "llama" => Ok(ModelType::Llama),
        other => Err(format!(
            "model_type = \"{other}\" is not supported; \"smollm3\" and \"llama\" are"
        )),
    }
}

impl HfConfig {
    fn into_config(self, model_type: ModelType) -> Result<ModelConfig, String> {
        // transformers has two names for it.
        let is_silu = |act: &String| matches!(act.as_str(), "silu" | "swish");
        if let Some(act) = self.hidden_act.filter(|act| !is_silu(act)) {
            return Err(format!(
                "hidden_act = \"{act}\" is not supported; only \"silu\" is"
            ));
        }
        if self.attention_dropout.is_some_and(|rate| rate != 0.0) {
            return Err("attention_dropout is not 0; dropout is not supported".to_owned());
        }
        if self.use_sliding_window == Some(true) {
            return Err("use_sliding_window = true is not supported".to_owned());
        }
        let types = self.layer_types.iter().flatten();
        if let Some(other) = types.into_iter().find(|kind| *kind != "full_attention") {
            return Err(format!(
                "layer_types has \"{other}\"; only \"full_attention\" is supported"
            ));
        }
        if self.quantization_config.is_some_and(|config| !config.is_null()) {
            return Err(
                "quantization_config: quantized weights are not supported; load and save the model unquantized \
                 with transformers first"
                    .to_owned(),
            );
        }
        whole_heads(self.partial_rotary_factor)?;
        let max_position_embeddings = self
            .max_position_embeddings
            .unwrap_or_else(|| default_context(model_type));
        let (rope_theta, rope_scaling) = rope(
            self.rope_theta,
            self.rope_scaling,
            self.rope_parameters,
            max_position_embeddings,
            default_theta(model_type),
        )?;
        let layers = self.num_hidden_layers;
        let rope_layers = match (model_type, self.no_rope_layers) {
            (ModelType::Llama, _) => rope_layers(layers, 0),
            (ModelType::SmolLM3, Some(list)) => list.into_iter().map(|rope| rope != 0).collect(),
            (ModelType::SmolLM3, None) => rope_layers(layers, self.no_rope_layer_interval.unwrap_or(4)),
        };
        let heads = self.num_attention_heads;
        Ok(ModelConfig {
            model_type,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim: match self.head_dim {
                Some(dim) => dim,
                None => head_dim(self.hidden_size, heads)?,
            },
            max_position_embeddings,
            rope_theta,
            rope_scaling,
            rope_layers,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            // transformers' defaults for a missing key differ between the two classes.
            tie_word_embeddings: self
                .tie_word_embeddings
                .unwrap_or(model_type == ModelType::SmolLM3),
            attention_bias: self.attention_bias.unwrap_or(false),
            mlp_bias: self.mlp_bias.unwrap_or(false),
            initializer_range: self.initializer_range.unwrap_or(0.02),
            bos_token_id: self.bos_token_id.first(),
            eos_token_id: self.eos_token_id.first(),
            pad_token_id: self.pad_token_id.first(),
        })
    }
}

/// transformers' default when neither spelling gives a theta.
fn default_theta(model_type: ModelType) -> f64 {
    match model_type {
        ModelType::SmolLM3 => 2_000_000.0,
        ModelType::Llama => 10_000.0,
    }
}

/// transformers' default of `max_position_embeddings`.
fn default_context(model_type: ModelType) -> usize {
    match model_type {
        ModelType::SmolLM3 => 32_768,
        ModelType::Llama => 2_048,
    }
}

/// Theta and YaRN from the two spellings.
fn rope(
    theta: Option<f64>,
    scaling: Option<RopeParameters>,
    parameters: Option<RopeParameters>,
    max_position_embeddings: usize,
    default_theta: f64,
) -> Result<(f64, Option<Yarn>), String> {
    let inner_theta = parameters.as_ref().and_then(|parameters| parameters.rope_theta);
    if let (Some(a), Some(b)) = (theta, inner_theta)
        && a != b
    {
        return Err(format!(
            "rope_theta = {a} and rope_parameters.rope_theta = {b} contradict each other; keep one"
        ));
    }
    for rope in [&scaling, &parameters].into_iter().flatten() {
        whole_heads(rope.partial_rotary_factor)?;
    }
    let theta = theta.or(inner_theta).unwrap_or(default_theta);
    let misplaced = scaling.as_ref().and_then(|scaling| scaling.rope_theta);
    if let Some(other) = misplaced.filter(|other| *other != theta) {
        return Err(format!(
            "rope_scaling.rope_theta = {other} is read by transformers 5 and ignored by 4; write \"rope_theta\": {other} next to \
             rope_scaling, or remove it"
        ));
    }
    let kinds = [scaling, parameters].into_iter().flatten();
    let mut yarn = None;
    for rope in kinds.filter(|rope| rope.kind() != Some("default")) {
        let found = rope.into_yarn(max_position_embeddings)?;
        if let (Some(first), Some(second)) = (&yarn, &found)
            && first != second
        {
            return Err("rope_scaling and rope_parameters contradict each other; keep one".to_owned());
        }
        yarn = found.or(yarn);
    }
    Ok((theta, yarn))
}

/// Refuses rotary angles for only a part of each head.
fn whole_heads(partial_rotary_factor: Option<f64>) -> Result<(), String> {
    match partial_rotary_factor {
        Some(part) if part != 1.0 => Err(format!(
            "partial_rotary_factor = {part} is not supported; only 1 is"
        )),
        _ => Ok(()),
    }
}

impl RopeParameters {
    fn kind(&self) -> Option<&str> {
        self.rope_type.as_deref().or(self.r#type.as_deref())
    }

    fn into_yarn(self, max_position_embeddings: usize) -> Result<Option<Yarn>, String> {
        if let (Some(new), Some(old)) = (&self.rope_type, &self.r#type)
            && new != old
        {
            return Err(format!(
                "rope_type = \"{new}\" and type = \"{old}\" contradict each other; keep one"
            ));
        }
        match self.kind() {
            // `rope_parameters` with a theta alone.
            None if self.factor.is_none() && self.unknown.is_empty() => Ok(None),
            Some("yarn") => {
                if let Some(key) = self.unknown.keys().next() {
                    return Err(format!(
                        "\"{key}\" in the rope settings of type \"yarn\" is not a key that transformers computes with; \
                         remove it, or write attention_factor, mscale, mscale_all_dim or truncate"
                    ));
                }
                // As in transformers, 0 counts as absent.
                let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
                let original = self
                    .original_max_position_embeddings
                    .filter(|length| *length != 0)
                    .unwrap_or(max_position_embeddings);
                // transformers 5 derives a factor of null from the lengths.
                let factor = match (self.factor, self.original_max_position_embeddings) {
                    (Some(factor), _) => factor,
                    (None, Some(_)) => max_position_embeddings as f64 / original as f64,
                    (None, None) => return Err("rope settings of type \"yarn\" have no factor".to_owned()),
                };
                let usual = Yarn::new(factor, original);
                Ok(Some(Yarn {
                    beta_fast: given(self.beta_fast).unwrap_or(usual.beta_fast),
                    beta_slow: given(self.beta_slow).unwrap_or(usual.beta_slow),
                    attention_factor: self.attention_factor,
                    mscale: self.mscale,
                    mscale_all_dim: self.mscale_all_dim,
                    truncate: self.truncate,
                    ..usual
                }))
            }
            other => Err(format!(
                "rope type {} is not supported; \"default\" and \"yarn\" are",
                other.map_or("without a name".to_owned(), |name| format!("\"{name}\""))
            )),
        }
    }
}
