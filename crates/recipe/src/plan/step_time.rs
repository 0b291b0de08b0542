//! Where the time of a step goes, by formula, on a device that is known by its figures.
//!
//! The step is the engine's as it is: gradients go to the host, are summed there over ranks, each rank updates its part
//! (ZeRO-1), and the weights of all come back. Where layers are computed again their gradients are summed while the
//! last micro-batch's backward pass goes on ([`StepTime::hidden`]); nothing else overlaps, so the terms add up.
//! What is not in them: waiting for the slowest rank, for data and for messages, evaluation, restarts.
//!
//! Each term is an amount of work and a rate. The amounts are counted; the rates are the data sheet's, times a part that
//! is assumed to be reached ([`Device`]).

use serde::Serialize;

use crate::device::Device;
use crate::model_config::ModelConfig;
use crate::run::{Precision, Sharding};

use super::cost::{Memory, adapted_flops_per_token, layer_flops_per_token, training_flops_per_token};
use super::traffic::Trained;

/// What one rank does in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
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

/// Seconds of a step by what they are spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepTime {
    /// Matrix products, those that are computed again included.
    pub products: f64,
    /// Attention, causal over the whole row: document masks make it less.
    pub attention: f64,
    /// Reading and writing the device's memory around them: norms, gate, rotation, loss, casts, sums of micro-batches.
    pub elementwise: f64,
    /// AdamW and, for one rank, the norm of the gradients.
    pub update: f64,
    /// Gradients to the host and weights back.
    pub bus: f64,
    /// Sums and copies in the host's memory.
    pub host: f64,
    /// Gradients and weights between nodes.
    pub network: f64,
    /// The wait for a checkpoint's copy out of the device, spread over the steps between two.
    pub checkpoints: f64,
    /// What of the sums goes on beside the backward pass, and so does not count.
    pub hidden: f64,
}

/// Bytes of the host's memory that a rank reads or writes for each byte of gradients: they arrive (1), are sent, arrive
/// from others and are added (3). `crates/engine/src/reduce/over_hosts.rs`, `crates/collective/src/operations.rs`.
const GRADIENT_PASSES: f64 = 4.0;
/// For each byte of weights: their place is cleared (1), they arrive (1), and go to the device (1). The same places.
const WEIGHT_PASSES: f64 = 3.0;
/// As many more of each for what goes to ranks of the same node, through memory that both see.
const SHARED_PASSES: f64 = 2.0;
/// The part of a layer's time that is left when it is computed again and gone through backward: three passes of four.
const BACKWARD: f64 = 0.75;
/// AdamW reads weight, two moments and gradient, writes the first three, and scales a copy of the gradient: f32.
const UPDATE_BYTES: f64 = 36.0;
/// Squares and their sum.
const NORM_BYTES: f64 = 12.0;
/// Positions whose logits are held at once (`crates/kernels/src/tch/gpu.rs`).
const LOGIT_ROWS: f64 = 1_024.0;
/// Bytes a logit: from the product to its gradient, counted in the same place.
const LOGIT_BYTES: f64 = 40.0;
/// Bytes of an element of the head's gradient a block of positions.
const HEAD_BYTES: f64 = 12.0;

impl StepTime {
    /// What of it is named how, in the order in which it happens.
    pub fn terms(&self) -> [(&'static str, f64); 8] {
        [
            ("matrix products", self.products),
            ("attention", self.attention),
            ("norms, gate, loss, casts: the device's memory", self.elementwise),
            ("gradients to the host, weights back", self.bus),
            ("sums and copies in the host's memory", self.host),
            ("network", self.network),
            ("AdamW", self.update),
            ("copies for checkpoints", self.checkpoints),
        ]
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.terms().iter().map(|(_, seconds)| seconds).sum::<f64>() - self.hidden
    }

    /// The name of the longest.
    pub fn dominant(&self) -> &'static str {
        let longest = self.terms().into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        longest.map_or("", |(name, _)| name)
    }

    /// What the ranks do together.
    pub fn sums(&self) -> f64 {
        self.bus + self.host + self.network - self.hidden
    }

    fn compute(&self) -> f64 {
        self.products + self.attention + self.elementwise
    }

    pub(super) fn of(work: &Work<'_>, device: &Device) -> Self {
        let tokens = work.tokens();
        let peak = device.flops_per_second(work.precision);
        let memory = device.memory_bytes_per_second * device.transfers_reach;
        let mut step = Self {
            products: tokens * work.product_flops() / (peak * device.products_reach),
            attention: tokens * work.attention_flops() / (peak * device.attention_reaches),
            elementwise: work.elementwise_bytes(device) / memory,
            update: work.update_bytes() / memory,
            checkpoints: work.checkpoint_seconds(device),
            ..Self::of_sums(work, device)
        };
        // Copies to the host take their turn on the device, and sums on a CPU its cores.
        if device.bus_bytes_per_second.is_some() {
            let gradients = Self::of_gradients(work, device);
            step.hidden = step.hides(gradients.host + gradients.network, work);
        }
        step
    }

    /// Those of what the ranks do together, which do not depend on the rows.
    pub(super) fn of_sums(work: &Work<'_>, device: &Device) -> Self {
        if work.ranks == 1 {
            return Self::default();
        }
        let (gradients, weights) = (
            Self::of_gradients(work, device),
            Self::over_hosts(WEIGHT_PASSES, 1, work, device),
        );
        Self {
            bus: gradients.bus + weights.bus,
            host: gradients.host + weights.host,
            network: gradients.network + weights.network,
            ..Self::default()
        }
    }

    fn of_gradients(work: &Work<'_>, device: &Device) -> Self {
        Self::over_hosts(GRADIENT_PASSES, work.rounds(), work, device)
    }

    /// All trained numbers so many times to or from the device and to or from the other ranks.
    fn over_hosts(passes: f64, times: u64, work: &Work<'_>, device: &Device) -> Self {
        let bytes = 4.0 * (work.trained.total() * times) as f64;
        let ranks = work.ranks as f64;
        let of_node = work.ranks.min(device.devices_per_node) as f64;
        let (near, far) = ((of_node - 1.0) / ranks, (ranks - of_node) / ranks);
        let passes = passes + SHARED_PASSES * near;
        let bus = device
            .bus_bytes_per_second
            .map_or(0.0, |bus| bytes / (bus * device.transfers_reach));
        Self {
            bus,
            host: passes * bytes / device.host_bytes_per_second,
            network: bytes * far / (device.network_bytes_per_second * device.transfers_reach),
            ..Self::default()
        }
    }

    /// What of these seconds of gradients goes on beside the backward pass, one layer's after another's.
    fn hides(&self, gradients: f64, work: &Work<'_>) -> f64 {
        let backward = BACKWARD * self.compute() * work.rounds() as f64 / work.accumulation as f64;
        match work.recompute {
            true => gradients.min(backward),
            false => 0.0,
        }
    }

    /// The step where devices sum among themselves; then, at best, if weights too were sent while something is computed.
    ///
    /// Rings pass through all devices of a node and leave it once, over one adapter each, so a node's adapters carry them
    /// together: the bandwidth is theirs or that inside the node, whichever is less (NCCL; `doc/PERFORMANCE.md` of nccl-tests,
    /// and 46 to 48 of 50 GB/s an adapter in NVIDIA/nccl-tests#290).
    pub(super) fn between_devices(&self, work: &Work<'_>, device: &Device) -> [f64; 2] {
        let ranks = work.ranks as f64;
        let link = match work.ranks <= device.devices_per_node {
            true => device.link_bytes_per_second,
            false => {
                let of_node = device.network_bytes_per_second * device.devices_per_node as f64;
                of_node.min(device.link_bytes_per_second)
            }
        };
        let bytes = 4.0 * work.trained.total() as f64 * (ranks - 1.0) / ranks;
        let weights = bytes / (link * device.transfers_reach);
        let gradients = weights * work.rounds() as f64;
        let (compute, rest) = (self.compute(), self.update + self.checkpoints);
        let sums = weights + gradients;
        let hidden = self.hides(gradients, work);
        [compute + sums - hidden + rest, compute.max(sums) + rest]
    }
}

impl Work<'_> {
    /// Tokens of this rank in a step.
    fn tokens(&self) -> f64 {
        (self.micro_batch * self.accumulation) as f64 * self.sequence_length as f64
    }

    fn width(&self) -> f64 {
        (self.config.num_attention_heads * self.config.head_dim) as f64
    }

    pub fn is_adapted(&self) -> bool {
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
        match self.is_adapted() {
            true => adapted_flops_per_token(self.config, sequence_length, self.trained.total()),
            false => training_flops_per_token(self.config, sequence_length),
        }
    }

    /// Of one token, forward and backward and forward again.
    fn product_flops(&self) -> f64 {
        let again = if self.recompute {
            layer_flops_per_token(self.config) / 3.0
        } else {
            0.0
        };
        self.flops_per_token(0) + again
    }

    /// Of one token: two products with half of the keys and values forward; five backward, for the scores are computed
    /// again (Dao 2023, arXiv:2307.08691, section 3.1).
    fn attention_flops(&self) -> f64 {
        let products = if self.recompute { 9.0 } else { 7.0 };
        let layers = self.config.num_hidden_layers as f64;
        products * layers * self.width() * self.sequence_length as f64
    }

    /// Around the products, in a step.
    fn elementwise_bytes(&self, device: &Device) -> f64 {
        // What one pass over all that the backward pass reads takes. On a GPU LibTorch's operations go over it some 4
        // times forward and 8 backward at SmolLM3's widths (counted in `crates/kernels/src/tch/gpu.rs`); the host's are
        // fused.
        let kept = Memory::of_device(self.config, self.precision, 1, 1, false, 1).activations as f64;
        let (forward, backward) = match device.bus_bytes_per_second {
            Some(_) => (4.0, 8.0),
            None => (2.0, 4.0),
        };
        let again = if self.recompute { forward } else { 0.0 };
        let head = (self.config.vocab_size * self.config.hidden_size) as f64;
        let of_token = kept * (forward + backward + again)
            + LOGIT_BYTES * self.config.vocab_size as f64
            + HEAD_BYTES * head / LOGIT_ROWS;
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

    fn update_bytes(&self) -> f64 {
        match self.ranks {
            1 => (UPDATE_BYTES + NORM_BYTES) * self.trained.total() as f64,
            ranks => UPDATE_BYTES * self.trained.total().div_ceil(ranks) as f64,
        }
    }

    /// Rank 0 copies all weights and its moments; the others wait for it in the next step.
    fn checkpoint_seconds(&self, device: &Device) -> f64 {
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
