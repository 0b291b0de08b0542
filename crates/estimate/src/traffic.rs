//! The bytes that a rank sends in a step.
//!
//! The engine's step, and the messages of the operations in `crates/collective`, as formulas with the constants of both. The
//! tests run those operations and compare.

use serde::Serialize;
use smollm3_collective::PIECE;
use smollm3_engine::{BATCH_NUMBERS, SHARD_ALIGNMENT, SOURCE_NUMBERS, STEP_NUMBERS};
use smollm3_recipe::{Lora, ModelConfig};

const F32: u64 = 4;
const F64: u64 = 8;
/// Bytes of one source's losses.
const OF_SOURCE: u64 = F64 * SOURCE_NUMBERS as u64;
/// Numbers of a step with no source: some before the forward pass, some after the backward pass.
const NUMBERS: u64 = (BATCH_NUMBERS + STEP_NUMBERS) as u64;
/// Exchanges of these numbers in a step: one before, one after.
const EXCHANGES: u64 = 2;

/// Bytes that rank 0 sends to other ranks in a step with an update, as `metrics.jsonl` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StepTraffic {
    /// Gradients, each element to the rank that updates it.
    pub gradients_bytes: u64,
    /// Its own new weights, to all others.
    pub weights_bytes: u64,
    /// Losses, counts and norms, with rows of one source in the step.
    pub numbers_bytes: u64,
    /// Additional bytes for each further source of the rank's rows in the step.
    pub each_further_source_bytes: u64,
    /// The sum, with one source.
    pub total_bytes: u64,
    /// Messages: of gradients and weights, and one of numbers before and one after them to each other rank.
    pub messages: u64,
}

/// Trained numbers as ranks reduce them: one bucket for each layer, and one for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trained {
    /// Layers.
    pub layers: u64,
    /// Numbers of a layer.
    pub of_layer: u64,
    /// Numbers in no layer.
    pub rest: u64,
}

impl Trained {
    /// All parameters of a model.
    pub fn all(config: &ModelConfig) -> Self {
        let layers = config.num_hidden_layers as u64;
        let of_layer = config.layer_parameters();
        Self {
            layers,
            of_layer,
            rest: config.parameters() - layers * of_layer,
        }
    }

    /// The adapters of a model.
    pub fn adapters(lora: &Lora, config: &ModelConfig) -> Self {
        Self {
            layers: config.num_hidden_layers as u64,
            of_layer: lora.layer_parameters(config),
            rest: 0,
        }
    }

    /// All of them.
    pub fn total(self) -> u64 {
        self.layers * self.of_layer + self.rest
    }

    /// The lengths of buckets, and the number of each.
    fn buckets(self) -> [(u64, u64); 2] {
        [(self.of_layer, self.layers), (self.rest, 1)].map(|(length, count)| match length {
            0 => (0, 0),
            _ => (length, count),
        })
    }
}

impl StepTraffic {
    /// Of rank 0 of `ranks`, where gradients are summed `rounds` times in a step (once, or with
    /// [`Sharding::Gradients`](smollm3_recipe::Sharding::Gradients) for each micro-batch) and a step records `observed` figures
    /// beside the loss (none on text and conversations, seven on pairs). A single rank sends nothing.
    pub fn of_first_rank(trained: Trained, ranks: u64, observed: u64, rounds: u64) -> Self {
        let others = ranks.max(1) - 1;
        let [mut gradients, mut weights] = [0u64; 2];
        let mut messages = others.saturating_mul(EXCHANGES);
        for (length, count) in trained.buckets() {
            let shard = length
                .div_ceil(ranks.max(1))
                .next_multiple_of(SHARD_ALIGNMENT as u64);
            let own = shard.min(length);
            let times = |bytes: u64| count.saturating_mul(bytes);
            gradients = gradients.saturating_add(times(rounds * F32 * (length - own)));
            weights = weights.saturating_add(times(F32.saturating_mul(own).saturating_mul(others)));
            messages = messages.saturating_add(times(
                (rounds * own.div_ceil(PIECE as u64) + 1).saturating_mul(others),
            ));
        }
        let numbers = others.saturating_mul(F64 * (NUMBERS + observed) + OF_SOURCE);
        Self {
            gradients_bytes: gradients,
            weights_bytes: weights,
            numbers_bytes: numbers,
            each_further_source_bytes: others.saturating_mul(OF_SOURCE),
            total_bytes: gradients.saturating_add(weights).saturating_add(numbers),
            messages,
        }
    }
}
