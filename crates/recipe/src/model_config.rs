//! The architecture of a model as plain numbers: what `configs/*.toml` holds and what a checkpoint's
//! `config.json` says (see [`crate::hf_config`]).
//!
//! One struct serves the plan (parameters, FLOPs, memory), the model (shapes) and the exporter, so that a
//! number is checked once. Field names are Hugging Face's. It lives in the plan layer because counting
//! parameters must not need a device.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::yarn::Yarn;

/// Widths and rows of matrices: devices count them in 32 bits.
const MOST_SIZE: usize = i32::MAX as usize;
/// Layers: far above any model, and few enough to be listed.
const MOST_LAYERS: usize = 1 << 16;
/// The most positions: up to here every one is a distinct `f32`.
const MOST_POSITIONS: usize = 1 << 24;
/// Parameters: their bytes, moments included, are counted in 64 bits.
const MOST_PARAMETERS: u128 = 1 << 56;

/// A model's shape is impossible, or a file that describes one cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read the model configuration: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid TOML or JSON, or has an unknown key.
    #[error("{path}: {message}", path = .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// The numbers do not make a model.
    #[error("{path}: {message}", path = .path.display())]
    Invalid {
        /// The file, empty for a configuration built in code.
        path: PathBuf,
        /// What is wrong and what to write instead.
        message: String,
    },
}

/// The family of a checkpoint, `model_type` in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelType {
    /// `SmolLM3ForCausalLM`: some layers without RoPE.
    SmolLM3,
    /// `LlamaForCausalLM` (SmolLM2 and others): RoPE in every layer.
    Llama,
}

/// The architecture of a SmolLM3- or Llama-family model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The family.
    pub model_type: ModelType,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; each serves `num_attention_heads / num_key_value_heads` query heads.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// The longest row the RoPE settings are meant for.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Context extension at inference.
    pub rope_scaling: Option<Yarn>,
    /// For each layer, whether RoPE is applied. `config.json` calls this `no_rope_layers`, where 1 means that
    /// RoPE **is** applied.
    pub rope_layers: Vec<bool>,
    /// Epsilon inside the RMSNorm's square root.
    pub rms_norm_eps: f64,
    /// Whether the output head is the token embedding.
    pub tie_word_embeddings: bool,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
    /// Whether the feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// Standard deviation of the initial matrices.
    pub initializer_range: f64,
    /// Token that begins a text, if the tokenizer has one.
    pub bos_token_id: Option<u32>,
    /// Token that ends a document.
    pub eos_token_id: Option<u32>,
    /// Token used to fill rows.
    pub pad_token_id: Option<u32>,
}

/// `configs/*.toml`: [`ModelConfig`] with the interval instead of the list, and defaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    model_type: Option<ModelType>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rope_theta: f64,
    rope_scaling: Option<Yarn>,
    /// Every n-th layer has no RoPE; 0 = RoPE in every layer.
    #[serde(default)]
    no_rope_layer_interval: usize,
    rms_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    initializer_range: Option<f64>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<u32>,
    pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Reads `configs/*.toml`.
    ///
    /// # Errors
    /// The file cannot be read, has an unknown or missing key, or its numbers do not make a model.
    pub fn from_toml_file(path: &Path) -> Result<Self, ModelConfigError> {
        Self::from_toml(&read(path)?, path)
    }

    /// Parses the text of a `configs/*.toml`; `path` is used in messages.
    ///
    /// # Errors
    /// As [`Self::from_toml_file`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ModelConfigError> {
        let file: ModelFile = toml::from_str(text).map_err(|error| ModelConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let invalid = |message| ModelConfigError::Invalid {
            path: path.to_owned(),
            message,
        };
        let heads = file.num_attention_heads;
        let config = Self {
            model_type: file.model_type.unwrap_or(ModelType::SmolLM3),
            vocab_size: file.vocab_size,
            hidden_size: file.hidden_size,
            intermediate_size: file.intermediate_size,
            num_hidden_layers: file.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: file.num_key_value_heads.unwrap_or(heads),
            head_dim: match file.head_dim {
                Some(dim) => dim,
                None => head_dim(file.hidden_size, heads).map_err(invalid)?,
            },
            max_position_embeddings: file.max_position_embeddings,
            rope_theta: file.rope_theta,
            rope_scaling: file.rope_scaling,
            rope_layers: rope_layers(file.num_hidden_layers, file.no_rope_layer_interval),
            rms_norm_eps: file.rms_norm_eps.unwrap_or(1e-6),
            tie_word_embeddings: file.tie_word_embeddings.unwrap_or(true),
            attention_bias: file.attention_bias,
            mlp_bias: file.mlp_bias,
            initializer_range: file.initializer_range.unwrap_or(0.02),
            bos_token_id: file.bos_token_id,
            eos_token_id: file.eos_token_id,
            pad_token_id: file.pad_token_id,
        };
        config.validated(path)
    }

    /// Returns `self` if a model of this shape can exist; `path` is used in messages.
    ///
    /// # Errors
    /// The first number that is impossible, and what it has to be.
    pub fn validated(self, path: &Path) -> Result<Self, ModelConfigError> {
        match self.problem() {
            None => Ok(self),
            Some(message) => Err(ModelConfigError::Invalid {
                path: path.to_owned(),
                message,
            }),
        }
    }

    /// The same model for rows of at least `positions` tokens; `path` is used in messages.
    ///
    /// # Errors
    /// That many positions cannot be told apart.
    pub fn with_positions(mut self, positions: u64, path: &Path) -> Result<Self, ModelConfigError> {
        let positions = usize::try_from(positions).unwrap_or(usize::MAX);
        self.max_position_embeddings = self.max_position_embeddings.max(positions);
        self.validated(path)
    }

    fn problem(&self) -> Option<String> {
        let sizes = [
            ("vocab_size", self.vocab_size, MOST_SIZE),
            ("hidden_size", self.hidden_size, MOST_SIZE),
            ("intermediate_size", self.intermediate_size, MOST_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MOST_SIZE),
            ("num_key_value_heads", self.num_key_value_heads, usize::MAX),
            ("head_dim", self.head_dim, MOST_SIZE),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                MOST_POSITIONS,
            ),
        ];
        if let Some((name, ..)) = sizes.iter().find(|(_, value, _)| *value == 0) {
            return Some(format!("{name} is 0; it must be at least 1"));
        }
        if let Some((name, value, most)) = sizes.iter().find(|(_, value, most)| value > most) {
            return Some(format!("{name} = {value} is too large; write at most {most}"));
        }
        let most = self.most_parameters();
        if most > MOST_PARAMETERS {
            return Some(format!(
                "the sizes make a model of up to {most} parameters; at most {MOST_PARAMETERS} can be counted"
            ));
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Some(format!(
                "num_attention_heads = {heads} is not a multiple of num_key_value_heads = {kv_heads}; \
                 every key/value head must serve the same number of query heads"
            ));
        }
        let dim = self.head_dim;
        if !dim.is_multiple_of(2) {
            return Some(format!(
                "head_dim = {dim} is odd; RoPE rotates pairs, so it must be even"
            ));
        }
        let (entries, layers) = (self.rope_layers.len(), self.num_hidden_layers);
        if entries != layers {
            return Some(format!(
                "no_rope_layers has {entries} entries for num_hidden_layers = {layers}"
            ));
        }
        for (name, value) in [
            ("rope_theta", self.rope_theta),
            ("rms_norm_eps", self.rms_norm_eps),
            ("initializer_range", self.initializer_range),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Some(format!("{name} = {value}; it must be a positive number"));
            }
        }
        for (name, id) in [
            ("bos_token_id", self.bos_token_id),
            ("eos_token_id", self.eos_token_id),
            ("pad_token_id", self.pad_token_id),
        ] {
            let size = self.vocab_size;
            if let Some(id) = id.filter(|id| *id as usize >= size) {
                return Some(format!("{name} = {id} is outside the vocabulary of {size}"));
            }
        }
        self.rope_scaling.as_ref().and_then(Yarn::problem)
    }

    /// Parameters with as many key/value heads as query heads, the most there can be; biases and norms left out.
    fn most_parameters(&self) -> u128 {
        let sizes = [
            self.vocab_size,
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
        ];
        let [vocabulary, hidden, inner, layers] = sizes.map(|size| size as u128);
        let query = self.num_attention_heads as u128 * self.head_dim as u128;
        hidden * (2 * vocabulary + layers * (4 * query + 3 * inner))
    }

    /// The interval that `rope_layers` follows: every n-th layer without RoPE, 0 if none is; `None` for an
    /// irregular list.
    pub fn no_rope_layer_interval(&self) -> Option<usize> {
        let first = self.rope_layers.iter().position(|rope| !rope);
        let interval = first.map_or(0, |first| first + 1);
        (rope_layers(self.num_hidden_layers, interval) == self.rope_layers).then_some(interval)
    }

    /// Trainable numbers, a tied head counted once.
    pub fn parameters(&self) -> u64 {
        self.count("")
    }

    /// Trainable numbers of one layer.
    pub fn layer_parameters(&self) -> u64 {
        self.count("model.layers.0.")
    }

    /// Numbers of the tensors whose names begin with `prefix`.
    fn count(&self, prefix: &str) -> u64 {
        let shapes = self.parameter_shapes().into_iter();
        let counted = shapes.filter(|(name, _)| name.starts_with(prefix));
        counted
            .map(|(_, shape)| shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Every parameter tensor by its Hugging Face name, with its shape `[out, in]`, in the order of the model.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let query = self.num_attention_heads * self.head_dim;
        let key_value = self.num_key_value_heads * self.head_dim;
        let mut shapes = vec![(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocab_size, hidden],
        )];
        for layer in 0..self.num_hidden_layers {
            for (name, out, input, bias) in [
                ("self_attn.q_proj", query, hidden, self.attention_bias),
                ("self_attn.k_proj", key_value, hidden, self.attention_bias),
                ("self_attn.v_proj", key_value, hidden, self.attention_bias),
                ("self_attn.o_proj", hidden, query, self.attention_bias),
                ("mlp.gate_proj", inner, hidden, self.mlp_bias),
                ("mlp.up_proj", inner, hidden, self.mlp_bias),
                ("mlp.down_proj", hidden, inner, self.mlp_bias),
            ] {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), vec![out, input]));
                if bias {
                    shapes.push((format!("model.layers.{layer}.{name}.bias"), vec![out]));
                }
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), vec![hidden]));
            }
        }
        shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        shapes
    }
}

/// The text of a configuration's file.
pub(crate) fn read(path: &Path) -> Result<String, ModelConfigError> {
    std::fs::read_to_string(path).map_err(|source| ModelConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Whether each layer has RoPE when every `interval`-th layer has none (layer `i`, 0-based, is without it iff
/// `(i + 1) mod interval = 0`); 0 means RoPE everywhere. Of more layers than there can be, the first.
pub(crate) fn rope_layers(layers: usize, interval: usize) -> Vec<bool> {
    (1..=layers.min(MOST_LAYERS))
        .map(|n| interval == 0 || !n.is_multiple_of(interval))
        .collect()
}

/// The head width that follows from the hidden size.
pub(crate) fn head_dim(hidden_size: usize, heads: usize) -> Result<usize, String> {
    if heads == 0 {
        Err("num_attention_heads is 0; it must be at least 1".to_owned())
    } else if !hidden_size.is_multiple_of(heads) {
        Err(format!(
            "hidden_size = {hidden_size} is not a multiple of num_attention_heads = {heads}; \
             change one of them or write head_dim"
        ))
    } else {
        Ok(hidden_size / heads)
    }
}
