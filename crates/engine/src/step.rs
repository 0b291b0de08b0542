//! One training step: losses, gradients, norm, clip, update.
//!
//! [`backward()`] computes losses and gradients of a micro-batch, [`reduce_gradients`] sums them over micro-batches and ranks,
//! [`AdamW`] updates. With one rank nothing is exchanged, and the step reads the same.

mod adamw;
mod backward;
mod batch;
mod global_batch;
mod gradients;
mod moments;
mod objective;
mod reduce;
mod step_sums;

use std::collections::BTreeMap;

use smollm3_model::SmolLm3;
use smollm3_recipe::{LossAverage, Recompute, Sharding};

use crate::Result;
use reduce::reduce_gradients;
use step_sums::StepSums;

pub use adamw::AdamW;
pub(crate) use backward::{backward, forward};
pub use batch::{CrossEntropy, MicroBatch, Row};
pub use global_batch::{BATCH_NUMBERS, GlobalBatch};
pub use gradients::AccumulatedGradients;
pub use moments::OPTIMIZER;
pub use objective::{Objective, ObjectiveLoss, RowOrigin, SourceLoss};
pub use reduce::SHARD_ALIGNMENT;
pub(crate) use reduce::{GradientSink, ReducedGradients};
pub use step_sums::{SOURCE_NUMBERS, STEP_NUMBERS};

/// What changes from step to step.
#[derive(Debug, Clone)]
pub struct TrainState {
    /// The model, on a device with autodiff.
    pub model: SmolLm3,
    /// The optimizer.
    pub optimizer: AdamW,
}

/// How steps are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMode {
    /// Which mean the loss is.
    pub average: LossAverage,
    /// What the backward pass recomputes instead of keeping.
    pub recompute: Recompute,
    /// What ranks divide among themselves.
    pub sharding: Sharding,
}

impl From<LossAverage> for StepMode {
    fn from(average: LossAverage) -> Self {
        Self {
            average,
            recompute: Recompute::None,
            sharding: Sharding::Optimizer,
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult {
    /// Mean loss in nats.
    pub loss: f64,
    /// Targets that the loss is the mean of.
    pub targets: usize,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Summed losses and targets of each source that has rows in the batch.
    pub sources: BTreeMap<usize, SourceLoss>,
    /// The objective's other figures, means over the targets.
    pub observed: BTreeMap<&'static str, f64>,
    /// Whether the update was made.
    pub updated: bool,
}

/// One training step over all ranks: forward and backward pass of each micro-batch, gradient clipping, update.
///
/// The loss is the sum of token losses over the number of targets of the whole batch or, as in the original, the mean of the
/// micro-batches' means. The update is made only if loss and norm are finite and `accept` returns true; until then nothing has
/// changed. The result is the same on all ranks, which exchange numbers twice: in [`GlobalBatch::gather`] and after the backward
/// pass.
///
/// # Errors
/// A rank that is late or gone; the state is lost then.
pub fn train_step<O: Objective>(
    state: TrainState,
    objective: &O,
    batch: GlobalBatch<'_, O::MicroBatch>,
    mode: StepMode,
    learning_rate: f64,
    accept: impl FnOnce(&StepResult) -> bool,
) -> Result<(TrainState, StepResult)> {
    let TrainState { model, mut optimizer } = state;

    // Forward and backward pass of each micro-batch; ranks exchange gradients meanwhile.
    let weight = |count: usize| batch.weight(mode.average, count);
    let (losses, gradients) = reduce_gradients(&model, &batch, mode.sharding, |micro_batch, sink| {
        backward(objective, &model, micro_batch, weight, mode.recompute, sink)
    })?;

    // Losses and gradient norm, read from the device and summed over ranks.
    let sums = StepSums::read(losses, O::OBSERVED.len(), gradients.squares(), &batch)?;
    let mut result = StepResult {
        loss: sums.loss,
        targets: batch.targets as usize,
        grad_norm: sums.squares.sqrt(),
        sources: sums.sources,
        observed: O::OBSERVED.iter().copied().zip(sums.observed).collect(),
        updated: false,
    };
    result.updated = result.loss.is_finite() && result.grad_norm.is_finite() && accept(&result);
    if !result.updated {
        return Ok((TrainState { model, optimizer }, result));
    }

    // Gradient clipping and the optimizer's step.
    let scale = optimizer.clip_factor(result.grad_norm);
    let model = optimizer.update(model, gradients, scale, learning_rate)?;
    Ok((TrainState { model, optimizer }, result))
}
