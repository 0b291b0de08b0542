//! FLOPs, memory and time, by formula.
//!
//! FLOPs are model FLOPs: what the mathematics needs, whatever is recomputed. Memory is what must be there at
//! the same time at the peak, an estimate from the tensors that the backward pass reads; allocators and
//! temporary buffers come on top, often 10–20 %.

use serde::Serialize;

use crate::model_config::ModelConfig;
use crate::run::{Cluster, Precision};

use super::MeasuredRate;

/// Positions whose logits are in memory at once.
const LOGIT_ROWS: u64 = 1_024;

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

/// Of them what the matrices of the layers take.
pub(super) fn layer_flops_per_token(config: &ModelConfig) -> f64 {
    let head = 6.0 * (config.vocab_size * config.hidden_size) as f64;
    training_flops_per_token(config, 0) - head
}

/// [`training_flops_per_token`] where only `adapters` numbers are trained: a frozen matrix of a layer has no gradient of its
/// own.
pub(super) fn adapted_flops_per_token(config: &ModelConfig, sequence_length: u64, adapters: u64) -> f64 {
    let frozen = layer_flops_per_token(config) / 3.0;
    training_flops_per_token(config, sequence_length) - frozen + 6.0 * adapters as f64
}

/// Memory of one device in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The weights that products read, in the run's precision.
    pub weights: u64,
    /// f32 masters, whole on every device; none in f32, where the weights are the masters.
    pub masters: u64,
    /// The f32 gradient sum of the step, whole on every device unless gradients are sharded.
    pub gradients: u64,
    /// Both Adam moments in f32, a slice per device.
    pub moments: u64,
    /// What the backward pass of one micro-batch reads.
    pub activations: u64,
    /// Logits and their gradient, in f32, for a chunk of positions.
    pub logits: u64,
    /// All of it.
    pub total: u64,
}

impl Memory {
    /// Memory of one of `devices` devices that computes `micro_batch` rows at once.
    ///
    /// Moments are sliced over the devices (ZeRO-1, Rajbhandari et al. 2020, arXiv:1910.02054); masters are not, for the
    /// model holds its parameters in f32 and casts them for each product.
    /// Activations follow the counting of Korthikanti et al. 2022 (arXiv:2205.05198, section 4) for this block:
    /// a position keeps, per layer, the inputs of the two norms in f32 (2·hidden), and in the run's precision those
    /// of the two blocks (2·hidden), queries and attention's output (2·query width), keys and values (2·key width),
    /// and gate, up and their product (3·intermediate); and one f32 per norm and head. Attention keeps no square
    /// matrix. With recomputation a layer keeps its input, and one layer at a time the rest.
    pub fn of_device(
        config: &ModelConfig,
        precision: Precision,
        sequence_length: u64,
        micro_batch: u64,
        recompute: bool,
        devices: u64,
    ) -> Self {
        let parameters = config.parameters();
        let slice = parameters.div_ceil(devices.max(1));
        let (hidden, heads) = (config.hidden_size as u64, config.num_attention_heads as u64);
        let query = heads * config.head_dim as u64;
        let key_value = (config.num_key_value_heads * config.head_dim) as u64;
        let bytes = precision.bytes();
        let intermediate = config.intermediate_size as u64;
        let per_layer = 8 * hidden
            + bytes * (2 * hidden + 2 * query + 2 * key_value + 3 * intermediate)
            + 4 * (heads + 2);
        let layers = config.num_hidden_layers as u64;
        let in_layers = if recompute {
            layers * 4 * hidden + per_layer
        } else {
            layers * per_layer
        };
        // The output of the last layer, that of the final norm, and the gradient of that.
        let ends = (4 + 2 * bytes) * hidden;
        // While all layers are still there, the gradients inside the last: of its residual stream, gate, up and their
        // product.
        let backward = if recompute {
            0
        } else {
            12 * hidden + 3 * bytes * intermediate
        };
        let position = in_layers + ends + backward;
        let rows = micro_batch.saturating_mul(sequence_length);
        let mut memory = Self {
            weights: bytes * parameters,
            masters: if precision == Precision::F32 {
                0
            } else {
                4 * parameters
            },
            gradients: 4 * parameters,
            moments: 8 * slice,
            activations: rows.saturating_mul(position),
            logits: 8 * rows.min(LOGIT_ROWS) * config.vocab_size as u64,
            total: 0,
        };
        memory.add_up();
        memory
    }

    /// The same where only so many numbers are trained, those of adapters: they come beside the weights, which are frozen,
    /// and gradients and moments are theirs alone.
    #[must_use]
    pub(super) fn with_adapters(mut self, trained: u64, precision: Precision, devices: u64) -> Self {
        self.weights += precision.bytes() * trained;
        if precision != Precision::F32 {
            self.masters += 4 * trained;
        }
        self.gradients = 4 * trained;
        self.moments = 8 * trained.div_ceil(devices.max(1));
        self.add_up();
        self
    }

    /// The same where devices hold only their part of the gradients' sum (ZeRO-2), beside what the backward pass has
    /// left of up to three layers and of what is in none.
    #[must_use]
    pub(super) fn with_sharded_gradients(
        mut self,
        trained: u64,
        of_layer: u64,
        rest: u64,
        devices: u64,
    ) -> Self {
        self.gradients = 4 * (trained.div_ceil(devices.max(1)) + 3 * of_layer + rest).min(trained);
        self.add_up();
        self
    }

    fn add_up(&mut self) {
        self.total = [
            self.weights,
            self.masters,
            self.gradients,
            self.moments,
            self.activations,
        ]
        .into_iter()
        .fold(self.logits, u64::saturating_add);
    }
}

/// Days for `flops` model FLOPs on `devices` devices, each at a rate that was measured.
pub fn measured_days(flops: f64, rate: &MeasuredRate, devices: u64) -> f64 {
    flops / (rate.flops_per_second * devices as f64) / SECONDS_PER_DAY
}

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Days for `flops` model FLOPs on `devices` devices, where their peak rate is stated.
pub fn days(flops: f64, cluster: &Cluster, devices: u64) -> Option<f64> {
    let peak = cluster.peak_tflops? * 1e12;
    Some(flops / (peak * cluster.mfu * devices as f64) / SECONDS_PER_DAY)
}
