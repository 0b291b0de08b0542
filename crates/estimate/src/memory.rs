//! Memory of a device, by formula: what is held at the same time at the peak of a step.
//!
//! An estimate from the tensors that the backward pass reads; allocators and temporary buffers add to it, often 10 to 20 %.

use serde::Serialize;
use smollm3_kernels::LOSS_ROWS;
use smollm3_recipe::{ModelConfig, Precision};

/// Memory of one device in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The weights that products read, in the run's precision.
    pub weights: u64,
    /// f32 masters, whole on every device; none in f32, where the weights are the masters.
    pub masters: u64,
    /// The f32 gradient sum of the step, whole on every device unless gradients are sharded.
    pub gradients: u64,
    /// Both Adam moments in f32, a shard per device.
    pub moments: u64,
    /// What the backward pass of one micro-batch reads.
    pub activations: u64,
    /// Logits and their gradient, in f32, for a chunk of positions.
    pub logits: u64,
    /// The sum.
    pub total: u64,
}

impl Memory {
    /// Memory of one of `devices` devices that computes `micro_batch` rows at once.
    ///
    /// Moments are sharded over the devices (ZeRO-1, Rajbhandari et al. 2020, arXiv:1910.02054); masters are not, for the
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
        let shard = parameters.div_ceil(devices.max(1));
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
            moments: 8 * shard,
            activations: rows.saturating_mul(position),
            logits: 8 * rows.min(LOSS_ROWS as u64) * config.vocab_size as u64,
            total: 0,
        };
        memory.add_up();
        memory
    }

    /// The same with adapters of `trained` numbers on top of frozen weights; only the adapters have gradients and moments.
    #[must_use]
    pub(crate) fn with_adapters(mut self, trained: u64, precision: Precision, devices: u64) -> Self {
        self.weights += precision.bytes() * trained;
        if precision != Precision::F32 {
            self.masters += 4 * trained;
        }
        self.gradients = 4 * trained;
        self.moments = 8 * trained.div_ceil(devices.max(1));
        self.add_up();
        self
    }

    /// The same with sharded gradients (ZeRO-2): a device holds its shard of the sum, and the gradients of up to three layers
    /// and of all outside the layers that the backward pass has left.
    #[must_use]
    pub(crate) fn with_sharded_gradients(
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
