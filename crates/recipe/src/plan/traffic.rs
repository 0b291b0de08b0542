//! What a rank sends in a step, to the byte.
//!
//! A mirror of the engine's step (`crates/engine/src/{step,sums,reduced,adamw}.rs`) and of how the operations of
//! `crates/collective` are made of messages, in formulas alone: the plan depends on neither. The tests beside this crate
//! run those operations and compare.

use serde::Serialize;

/// Elements that bounds between ranks are multiples of, as the engine divides them.
const ALIGNMENT: u64 = 64;
/// Elements of a shard that are exchanged at once in a reduce-scatter.
const PIECE: u64 = 1 << 16;
const F32: u64 = 4;
const F64: u64 = 8;
const COUNT: u64 = 8;
/// What is told of a source: its index, rows, sum and targets.
const OF_SOURCE: u64 = 4 * F64;
/// Targets and micro-batches before the backward pass, the loss, the squared gradients.
const NUMBERS: u64 = 4;

/// Bytes that rank 0 sends to other ranks in a step with an update, as `metrics.jsonl` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StepTraffic {
    /// Gradients, each element to the rank that updates it.
    pub gradients_bytes: u64,
    /// Its own new weights, to all others.
    pub weights_bytes: u64,
    /// Losses, counts and norms, with rows of one source in the step.
    pub numbers_bytes: u64,
    /// As many more for each further source that the rank has rows of in the step.
    pub each_further_source_bytes: u64,
    /// All of it, with one source.
    pub total_bytes: u64,
    /// Messages of gradients and weights.
    pub messages: u64,
}

impl StepTraffic {
    /// Of rank 0 of `ranks`, for `trained` numbers, where a step records `observed` figures beside the loss (none on text
    /// and conversations, seven on pairs). Nothing is sent by one rank alone.
    pub fn of_first_rank(trained: u64, ranks: u64, observed: u64) -> Self {
        let others = ranks.max(1) - 1;
        let own = match others {
            0 => trained,
            _ => first_shard(trained, ranks),
        };
        let gradients = F32.saturating_mul(trained.saturating_sub(own));
        let weights = F32.saturating_mul(own).saturating_mul(others);
        // The counts of what is told of sources are told first.
        let numbers = others.saturating_mul(F64 * (NUMBERS + observed) + COUNT + OF_SOURCE);
        Self {
            gradients_bytes: gradients,
            weights_bytes: weights,
            numbers_bytes: numbers,
            each_further_source_bytes: others.saturating_mul(OF_SOURCE),
            total_bytes: gradients.saturating_add(weights).saturating_add(numbers),
            messages: (own.div_ceil(PIECE) + 1).saturating_mul(others),
        }
    }
}

/// Elements of rank 0: whole blocks of [`ALIGNMENT`], one more of them than others where they do not come out even.
fn first_shard(trained: u64, ranks: u64) -> u64 {
    (trained / ALIGNMENT).div_ceil(ranks) * ALIGNMENT
}
