//! One training step.

use std::collections::BTreeMap;

use smollm3_collective::Collective;
use smollm3_recipe::{LossAverage, Recompute, Sharding};

use crate::backward::backward;
use crate::objective::{Objective, SourceLoss};
use crate::reduce::ReducedGradients;
use crate::sums::{StepLosses, StepSums};
use crate::train_state::TrainState;
use crate::{GlobalBatch, Result};

/// How the steps of a stage are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMode {
    /// What the loss is the mean of.
    pub average: LossAverage,
    /// What is computed again on the way back instead of kept.
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

/// What a step did.
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
    /// What else the objective records, means over the targets.
    pub observed: BTreeMap<&'static str, f64>,
    /// Whether the update was made.
    pub updated: bool,
}

/// Losses of all micro-batches, their gradients, one clip, one update; over all ranks.
///
/// The loss is the sum of token losses over the number of targets of the whole batch, or, as the original, the mean of the
/// micro-batches' means. The update is made only if loss and norm are finite and `accept` says so, which is asked before
/// anything has changed. What is returned is the same on all ranks, which exchange numbers twice: in
/// [`GlobalBatch::gather`] and once the gradients are there.
///
/// # Errors
/// A rank that is late or gone; the state is lost then.
pub fn train_step<O: Objective>(
    state: TrainState,
    objective: &O,
    batch: GlobalBatch<'_, O::MicroBatch>,
    mode: StepMode,
    learning_rate: f64,
    ranks: &dyn Collective,
    accept: impl FnOnce(&StepResult) -> bool,
) -> Result<(TrainState, StepResult)> {
    let TrainState { model, mut optimizer } = state;
    let weight = |count: usize| match mode.average {
        LossAverage::Tokens => 1.0 / batch.targets.max(1.0),
        LossAverage::MeanOfMeans => 1.0 / (count.max(1) as f64 * batch.count),
    };
    let own = batch.micro_batches.len();
    // How often gradients are summed over the ranks.
    let rounds = match mode.sharding {
        Sharding::Optimizer => 1,
        Sharding::Gradients => batch.most,
    };
    let (losses, gradients) = ReducedGradients::of(&model, mode.sharding, ranks, |gradients| {
        let mut losses = StepLosses::default();
        for (index, micro_batch) in batch.micro_batches.iter().enumerate() {
            gradients.begin(index + 1 == own);
            let loss = backward(objective, &model, micro_batch, weight, mode.recompute, gradients);
            losses.push(loss, objective.origins(micro_batch));
            gradients.end();
        }
        // The other ranks wait for what this one has none of.
        for _ in own..rounds {
            gradients.begin(true);
            gradients.end();
        }
        losses
    })?;
    let mut sums = losses.sums(O::OBSERVED.len(), batch.targets);
    sums.squares = gradients.squares();
    let StepSums {
        loss,
        squares,
        sources,
        observed,
    } = sums.over(ranks, &batch.sources)?;

    let grad_norm = squares.sqrt();
    let mut result = StepResult {
        loss,
        targets: batch.targets as usize,
        grad_norm,
        sources,
        observed: O::OBSERVED.iter().copied().zip(observed).collect(),
        updated: false,
    };
    result.updated = loss.is_finite() && grad_norm.is_finite() && accept(&result);
    if !result.updated {
        return Ok((TrainState { model, optimizer }, result));
    }
    let scale = optimizer.clip_factor(grad_norm);
    let model = optimizer.update(model, gradients, scale, learning_rate, ranks)?;
    Ok((TrainState { model, optimizer }, result))
}
