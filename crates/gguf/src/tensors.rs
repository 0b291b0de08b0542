//! llama.cpp's names of tensors, and its order of rows.

use smollm3_model::ModelConfig;

/// llama.cpp's name of a tensor; `None` if it has none.
pub(crate) fn name(name: &str) -> Option<String> {
    let (path, kind) = name.rsplit_once('.')?;
    let fixed = match path {
        "model.embed_tokens" => Some("token_embd"),
        "model.norm" => Some("output_norm"),
        "lm_head" => Some("output"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return Some(format!("{fixed}.{kind}"));
    }
    let (layer, part) = path.strip_prefix("model.layers.")?.split_once('.')?;
    let part = match part {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.{kind}"))
}

/// Number of heads of a projection whose rows llama.cpp orders differently: queries and keys of layers with RoPE.
///
/// Hugging Face rotates element `i` of a head with `i + head_dim / 2`, llama.cpp `2i` with `2i + 1`.
pub(crate) fn rotated_heads(name: &str, config: &ModelConfig) -> Option<usize> {
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let heads = match part.rsplit_once('.')?.0 {
        "self_attn.q_proj" => config.num_attention_heads,
        "self_attn.k_proj" => config.num_key_value_heads,
        _ => return None,
    };
    (config.rope_layers.get(layer) == Some(&true)).then_some(heads)
}

/// Rows of each head from halves to pairs: `0, d/2, 1, d/2 + 1, …`.
pub(crate) fn interleaved(values: &[f32], heads: usize, rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    let half = rows / heads / 2;
    let mut pairs = Vec::with_capacity(values.len());
    for head in values.chunks(2 * half * columns) {
        let (first, second) = head.split_at(half * columns);
        for (a, b) in first.chunks(columns).zip(second.chunks(columns)) {
            pairs.extend_from_slice(a);
            pairs.extend_from_slice(b);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_pairs_in_each_head() {
        // Two heads of four rows, two columns; the numbers are row and column.
        let values: Vec<f32> = (0..8).flat_map(|row| [row as f32, row as f32 + 0.5]).collect();
        let rows: Vec<f32> = interleaved(&values, 2, 8).into_iter().step_by(2).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        // A bias is one column.
        assert_eq!(interleaved(&[0.0, 1.0, 2.0, 3.0], 1, 4), [0.0, 2.0, 1.0, 3.0]);
    }

    #[test]
    fn names_are_llama_cpps() {
        for (ours, theirs) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", "output.weight"),
            ("model.layers.11.self_attn.k_proj.bias", "blk.11.attn_k.bias"),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ] {
            assert_eq!(name(ours).as_deref(), Some(theirs));
        }
        assert_eq!(name("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
    }
}
