//! Model FLOPs: what the mathematics of a training step needs, whatever is recomputed.

use crate::model_config::ModelConfig;

/// Model FLOPs of training on one token in rows of `sequence_length`, forward and backward.
///
/// `6·N + 6·L·A·S` (Kaplan et al. 2020, arXiv:2001.08361, table 1; Chowdhery et al. 2022, arXiv:2204.02311,
/// appendix B): 2 for the forward and 4 for the backward pass, times the N parameters that are in matrix
/// products (a tied embedding is, as the head; an untied one is only looked up), and for the attention of L
/// layers of width A = heads · head_dim a product with on average S/2 keys and one with as many values. Their
/// formula counts S keys; half of them are masked. Document boundaries mask more, so this is the upper bound.
pub fn training_flops_per_token(config: &ModelConfig, sequence_length: u64) -> f64 {
    let vectors: u64 = config
        .parameter_shapes()
        .iter()
        .filter(|(name, shape)| {
            shape.len() < 2 || (!config.tie_word_embeddings && name == "model.embed_tokens.weight")
        })
        .map(|(_, shape)| shape.iter().product::<usize>() as u64)
        .sum();
    let in_products = config.parameters().saturating_sub(vectors) as f64;
    let width = (config.num_attention_heads * config.head_dim) as f64;
    6.0 * in_products + 6.0 * config.num_hidden_layers as f64 * width * sequence_length as f64
}
