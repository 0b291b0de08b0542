//! The work of one rank in a step: the amounts that memory, FLOPs and time follow from.

use smollm3_kernels::LOSS_ROWS;
use smollm3_recipe::{
    ModelConfig, Precision, Recipe, Recompute, Sharding, Stage, Training, training_flops_per_token,
};

use crate::device::Device;
use crate::memory::Memory;
use crate::traffic::Trained;

/// AdamW reads weight, two moments and gradient, writes the first three, and scales a copy of the gradient: f32.
const UPDATE_BYTES: f64 = 36.0;
/// Squares and their sum.
const NORM_BYTES: f64 = 12.0;
/// Bytes a logit, from the product to its gradient, counted where [`LOSS_ROWS`] of them are held at once
/// (`crates/kernels/src/tch/gpu.rs`).
const LOGIT_BYTES: f64 = 40.0;
/// Bytes of an element of the head's gradient a block of positions.
const HEAD_BYTES: f64 = 12.0;

/// The work of one rank in a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepWork<'a> {
    pub config: &'a ModelConfig,
    pub precision: Precision,
    pub sequence_length: u64,
    pub micro_batch: u64,
    /// Micro-batches of this rank.
    pub accumulation: u64,
    pub recompute: bool,
    /// Numbers that are trained: the parameters, or the adapters.
    pub trained: Trained,
    pub sharding: Sharding,
    pub ranks: u64,
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: Option<u64>,
}

impl<'a> StepWork<'a> {
    /// That of one of `ranks`, in `accumulation` micro-batches of `micro_batch` rows.
    pub fn of(
        recipe: &Recipe,
        config: &'a ModelConfig,
        stage: &Stage,
        training: &Training,
        [micro_batch, accumulation]: [u64; 2],
        ranks: u64,
    ) -> Self {
        Self {
            config,
            precision: recipe.run.precision,
            // Pairs share rows, one of which is computed at once.
            sequence_length: stage
                .preference()
                .map_or(training.sequence_length.0, |pairs| pairs.row_length.0),
            micro_batch,
            accumulation,
            recompute: stage.recompute() == Recompute::Layers,
            trained: stage
                .lora()
                .map_or_else(|| Trained::all(config), |lora| Trained::adapters(lora, config)),
            sharding: recipe.run.shard,
            ranks,
            checkpoint_every: training.checkpoint.every.map(|every| every.0),
        }
    }

    /// Memory of the device.
    pub fn memory(&self) -> Memory {
        let memory = Memory::of_device(
            self.config,
            self.precision,
            self.sequence_length,
            self.micro_batch,
            self.recompute,
            self.ranks,
        );
        let memory = match self.is_adapted() {
            true => memory.with_adapters(self.trained.total(), self.precision, self.ranks),
            false => memory,
        };
        match self.sharding {
            Sharding::Gradients if self.recompute && self.ranks > 1 => {
                let Trained { of_layer, rest, .. } = self.trained;
                memory.with_sharded_gradients(self.trained.total(), of_layer, rest, self.ranks)
            }
            _ => memory,
        }
    }

    /// Tokens of this rank in a step.
    pub fn tokens(&self) -> f64 {
        (self.micro_batch * self.accumulation) as f64 * self.sequence_length as f64
    }

    fn width(&self) -> f64 {
        (self.config.num_attention_heads * self.config.head_dim) as f64
    }

    fn is_adapted(&self) -> bool {
        self.trained.total() < self.config.parameters()
    }

    /// How often gradients are summed over ranks in a step.
    pub fn rounds(&self) -> u64 {
        match self.sharding {
            Sharding::Optimizer => 1,
            Sharding::Gradients => self.accumulation,
        }
    }

    /// Model FLOPs of one token in rows of `sequence_length`, forward and backward.
    pub fn flops_per_token(&self, sequence_length: u64) -> f64 {
        let all = training_flops_per_token(self.config, sequence_length);
        match self.is_adapted() {
            // A frozen matrix of a layer has no gradient of its own.
            true => all - self.layer_flops() / 3.0 + 6.0 * self.trained.total() as f64,
            false => all,
        }
    }

    /// FLOPs of one token in the matrices of the layers.
    fn layer_flops(&self) -> f64 {
        let head = 6.0 * (self.config.vocab_size * self.config.hidden_size) as f64;
        training_flops_per_token(self.config, 0) - head
    }

    /// FLOPs of one token in matrix products: forward, backward, and forward again where layers are recomputed.
    pub fn product_flops(&self) -> f64 {
        let again = if self.recompute {
            self.layer_flops() / 3.0
        } else {
            0.0
        };
        self.flops_per_token(0) + again
    }

    /// FLOPs of one token in attention: two products with half of the keys and values forward; five backward, for the scores
    /// are recomputed (Dao 2023, arXiv:2307.08691, section 3.1).
    pub fn attention_flops(&self) -> f64 {
        let products = if self.recompute { 9.0 } else { 7.0 };
        let layers = self.config.num_hidden_layers as f64;
        products * layers * self.width() * self.sequence_length as f64
    }

    /// Bytes of the device's memory that are read and written around the products, in a step.
    pub fn elementwise_bytes(&self, device: &Device) -> f64 {
        // The bytes that the backward pass reads. On a GPU LibTorch's operations pass over them some 4 times forward and 8
        // backward at SmolLM3's widths (counted in `crates/kernels/src/tch/gpu.rs`); the host's are fused.
        let kept = Memory::of_device(self.config, self.precision, 1, 1, false, 1).activations as f64;
        let (forward, backward) = match device.bus_bytes_per_second {
            Some(_) => (4.0, 8.0),
            None => (2.0, 4.0),
        };
        let again = if self.recompute { forward } else { 0.0 };
        let head = (self.config.vocab_size * self.config.hidden_size) as f64;
        let of_token = kept * (forward + backward + again)
            + LOGIT_BYTES * self.config.vocab_size as f64
            + HEAD_BYTES * head / LOSS_ROWS as f64;
        // Weights to bf16, and gradients back; the sum of micro-batches.
        let parameters = self.config.parameters() as f64;
        let to_bf16 = match (self.precision, self.recompute) {
            (Precision::F32, _) => 0.0,
            (Precision::Bf16, false) => 6.0,
            (Precision::Bf16, true) => 12.0,
        };
        let of_gradient = match self.precision {
            Precision::F32 => 4.0,
            Precision::Bf16 => 8.0,
        } + if self.accumulation > 1 { 12.0 } else { 0.0 };
        let of_micro_batch = to_bf16 * parameters + of_gradient * self.trained.total() as f64;
        of_token * self.tokens() + of_micro_batch * self.accumulation as f64
    }

    /// Bytes that the update reads and writes.
    pub fn update_bytes(&self) -> f64 {
        match self.ranks {
            1 => (UPDATE_BYTES + NORM_BYTES) * self.trained.total() as f64,
            ranks => UPDATE_BYTES * self.trained.total().div_ceil(ranks) as f64,
        }
    }

    /// Seconds a step of copies for checkpoints: rank 0 copies all weights and its moments; the others wait for it in the
    /// next step.
    pub fn checkpoint_seconds(&self, device: &Device) -> f64 {
        let Some(every) = self.checkpoint_every else {
            return 0.0;
        };
        let moments = 8 * self.trained.total().div_ceil(self.ranks);
        let bytes = (4 * self.config.parameters() + moments) as f64;
        let rate = match device.bus_bytes_per_second {
            Some(bus) => (bus * device.transfers_reach).min(device.host_bytes_per_second),
            None => device.host_bytes_per_second,
        };
        bytes / rate / every.max(1) as f64
    }
}
