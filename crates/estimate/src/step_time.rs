//! The time of a step by its parts, by formula, on a device that is known by its figures.
//!
//! The step is the engine's: gradients go to the host and are reduced there over ranks, each rank updates its shard
//! (ZeRO-1), and the weights of all come back. Where layers are recomputed their gradients are reduced during the backward
//! pass of the last micro-batch ([`StepTime::hidden`]); nothing else overlaps, so the terms add up.
//! Left out: waiting for the slowest rank, for data and for messages; evaluation; restarts.
//!
//! Each term is an amount of work and a rate. The amounts are counted (`work.rs`); the rates are the data sheet's, times a part
//! that is assumed to be reached ([`Device`]).

use serde::Serialize;

use crate::device::Device;
use crate::step_work::StepWork;

/// Seconds of a step by what they are spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepTime {
    /// Matrix products, including those that are recomputed.
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
    /// Communication that overlaps with the backward pass, and so costs nothing.
    pub hidden: f64,
}

/// Bytes of the host's memory that a rank reads or writes for each byte of gradients: they arrive (1), are sent, arrive
/// from others and are added (3). `crates/engine/src/step/reduce/host.rs`, `crates/collective/src/collective.rs`.
const GRADIENT_PASSES: f64 = 4.0;
/// For each byte of weights: their place is cleared (1), they arrive (1), and go to the device (1). The same places.
const WEIGHT_PASSES: f64 = 3.0;
/// As many more of each for what goes to ranks of the same node, through memory that both see.
const SHARED_PASSES: f64 = 2.0;
/// The fraction of a layer's time that recomputation and the backward pass take: three passes of four.
const BACKWARD: f64 = 0.75;

impl StepTime {
    /// Names and seconds of its parts, in the order in which they happen.
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

    /// The seconds of the step.
    pub fn total(&self) -> f64 {
        self.terms().iter().map(|(_, seconds)| seconds).sum::<f64>() - self.hidden
    }

    /// The name of its longest part.
    pub fn dominant(&self) -> &'static str {
        let longest = self.terms().into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        longest.map_or("", |(name, _)| name)
    }

    /// Seconds of communication that the step waits for.
    pub fn sums(&self) -> f64 {
        self.bus + self.host + self.network - self.hidden
    }

    fn compute(&self) -> f64 {
        self.products + self.attention + self.elementwise
    }

    pub(crate) fn of(work: &StepWork<'_>, device: &Device) -> Self {
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

    /// The communication alone, which does not depend on the rows.
    pub(crate) fn of_sums(work: &StepWork<'_>, device: &Device) -> Self {
        if work.ranks == 1 {
            return Self::default();
        }
        let (gradients, weights) = (
            Self::of_gradients(work, device),
            Self::host_sums(WEIGHT_PASSES, 1, work, device),
        );
        Self {
            bus: gradients.bus + weights.bus,
            host: gradients.host + weights.host,
            network: gradients.network + weights.network,
            ..Self::default()
        }
    }

    fn of_gradients(work: &StepWork<'_>, device: &Device) -> Self {
        Self::host_sums(GRADIENT_PASSES, work.rounds(), work, device)
    }

    /// All trained numbers `times` times to or from the device and to or from the other ranks.
    fn host_sums(passes: f64, times: u64, work: &StepWork<'_>, device: &Device) -> Self {
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

    /// The part of these seconds of gradients that overlaps with the backward pass, layer by layer.
    fn hides(&self, gradients: f64, work: &StepWork<'_>) -> f64 {
        let backward = BACKWARD * self.compute() * work.rounds() as f64 / work.accumulation as f64;
        match work.recompute {
            true => gradients.min(backward),
            false => 0.0,
        }
    }

    /// Seconds of the step with sums between devices; then, at best, if sending the weights overlapped too.
    ///
    /// Rings pass through all devices of a node and leave it once, over one adapter each, so a node's adapters carry them
    /// together: the bandwidth is theirs or that inside the node, whichever is less (NCCL; `doc/PERFORMANCE.md` of nccl-tests,
    /// and 46 to 48 of 50 GB/s an adapter in NVIDIA/nccl-tests#290).
    pub(crate) fn device_sums(&self, work: &StepWork<'_>, device: &Device) -> [f64; 2] {
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
