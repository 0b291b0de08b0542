//! The validation loss of a stage: which step is the best so far, and whether the stage ends early.
//!
//! Rank 0 measures and tells the others, and the history is part of a checkpoint, so the decision is the same on every rank
//! and wherever a run is stopped.

use serde::{Deserialize, Serialize};
use smollm3_recipe::Validation;

/// The history of a stage's measurements; those before its first step do not count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationState {
    /// The best loss: the last that fell by more than `min_delta`.
    pub best: Option<BestLoss>,
    /// Measurements in a row since then.
    pub without_gain: u32,
    /// Whether the stage has ended early.
    #[serde(default)]
    pub ended: bool,
}

/// The best validation loss of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestLoss {
    /// The step after which it was measured.
    pub step: u64,
    /// The loss, in the unit of the stage.
    pub loss: f64,
}

impl ValidationState {
    /// Takes a measurement, `None` if it is not a number. Returns whether it is the best so far.
    pub fn take(&mut self, settings: &Validation, step: u64, loss: Option<f64>) -> bool {
        let lowest = self.best.as_ref().map_or(f64::INFINITY, |best| best.loss);
        let better = loss.filter(|loss| *loss < lowest - settings.min_delta());
        match better {
            Some(loss) => {
                self.best = Some(BestLoss { step, loss });
                self.without_gain = 0;
            }
            None => self.without_gain += 1,
        }
        let patience = settings.stop_early.as_ref().map(|stop| stop.patience);
        self.ended = patience.is_some_and(|patience| self.without_gain >= patience);
        better.is_some()
    }
}
