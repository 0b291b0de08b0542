//! The architecture under llama.cpp's keys.

use smollm3_model::{ModelConfig, Yarn};

use crate::file::{Value, prefixed};

/// llama.cpp's SmolLM3 has no RoPE in every fourth layer, whatever the file says (`src/models/smollm3.cpp`).
const WITHOUT_ROPE: usize = 4;

/// llama.cpp's name for the architecture, or what it does not support.
pub(crate) fn name(config: &ModelConfig) -> Result<&'static str, String> {
    match config.no_rope_layer_interval() {
        // With RoPE in all layers, a SmolLM3 is a Llama.
        Some(0) => Ok("llama"),
        Some(WITHOUT_ROPE) if config.attention_bias || config.mlp_bias => {
            Err("a SmolLM3 with biases; llama.cpp's has none".to_owned())
        }
        Some(WITHOUT_ROPE) => Ok("smollm3"),
        _ => Err(format!(
            "its layers without RoPE are not every {WITHOUT_ROPE}th, as llama.cpp assumes"
        )),
    }
}

/// The keys of a model, or what llama.cpp does not support.
pub(crate) fn values(config: &ModelConfig, architecture: &str) -> Result<Vec<(String, Value)>, String> {
    let numbers = [
        ("vocab_size", config.vocab_size),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("block_count", config.num_hidden_layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
    ];
    let numbers = numbers.map(|(key, number)| (key, Value::U32(number as u32)));
    let mut values = prefixed(architecture, numbers);
    let floats = [
        ("rope.freq_base", Value::F32(config.rope_theta as f32)),
        (
            "attention.layer_norm_rms_epsilon",
            Value::F32(config.rms_norm_eps as f32),
        ),
    ];
    values.extend(prefixed(architecture, floats));
    if let Some(yarn) = &config.rope_scaling {
        values.extend(prefixed(architecture, scaling(yarn)?));
    }
    Ok(values)
}

fn scaling(yarn: &Yarn) -> Result<[(&'static str, Value); 5], String> {
    let plain = Yarn {
        beta_fast: yarn.beta_fast,
        beta_slow: yarn.beta_slow,
        ..Yarn::new(yarn.factor, yarn.original_max_position_embeddings)
    };
    if yarn.attention_scaling() != plain.attention_scaling() || yarn.truncate == Some(false) {
        return Err("YaRN with its own attention factor or without truncation".to_owned());
    }
    Ok([
        ("rope.scaling.type", Value::Text("yarn".to_owned())),
        ("rope.scaling.factor", Value::F32(yarn.factor as f32)),
        (
            "rope.scaling.original_context_length",
            Value::U32(yarn.original_max_position_embeddings as u32),
        ),
        ("rope.scaling.yarn_beta_fast", Value::F32(yarn.beta_fast as f32)),
        ("rope.scaling.yarn_beta_slow", Value::F32(yarn.beta_slow as f32)),
    ])
}
