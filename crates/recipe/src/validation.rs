//! `[stage.validation]`: measuring a stage on conversations or pairs during training, and acting on the result.
//!
//! ```toml
//! validation = { paths = ["dev.jsonl"], every = "50 steps", best = "load", stop_early = { patience = 3 } }
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversations::Conversations;
use crate::defaults::is_default;
use crate::error::{Problem, ensure};
use crate::units::Steps;

/// What a stage is measured on, when, and what follows from it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Files of validation rows, instead of the fraction that `[data] held_out` holds out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The number of their rows to use, chosen by the run's seed; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Steps between measurements; the beginning and the end are always measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Steps>,
    /// How to treat the best checkpoint: the last whose loss fell by more than `min_delta`.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "none"))]
    pub best: BestCheckpoint,
    /// End the stage when the loss no longer falls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_early: Option<StopEarly>,
}

/// How the best checkpoint of a stage is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BestCheckpoint {
    /// Like any other.
    #[default]
    None,
    /// It is written even if no checkpoint is due, and never removed.
    Keep,
    /// The same, and it is the stage's result: later stages start from it, and it is evaluated.
    Load,
}

/// When a stage ends early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopEarly {
    /// The number of consecutive measurements without improvement after which it ends.
    pub patience: u32,
    /// An improvement is a loss lower by more than this.
    #[serde(default)]
    pub min_delta: f64,
}

/// The name of validation rows in reports.
pub const VALIDATION: &str = "validation";

impl Validation {
    /// How much lower than the best a loss must be to be an improvement.
    pub fn min_delta(&self) -> f64 {
        self.stop_early.as_ref().map_or(0.0, |stop| stop.min_delta)
    }

    /// Whether a measurement is due after this step, apart from those at the end of phases.
    pub fn is_due(&self, step: u64) -> bool {
        self.every.is_some_and(|every| step.is_multiple_of(every.0))
    }

    /// Its files as a data set; `None` if it has none.
    pub fn data(&self) -> Option<Conversations> {
        (!self.paths.is_empty()).then(|| Conversations {
            name: VALIDATION.to_owned(),
            paths: self.paths.clone(),
            rows: self.rows,
            ..Conversations::default()
        })
    }

    /// Checks the settings; `data` are the stage's training rows.
    pub(crate) fn check(&self, data: &[Conversations]) -> Result<(), Problem> {
        let (every, has_paths) = (self.every, !self.paths.is_empty());
        let is_empty = *self == Self::default();
        ensure!(
            !is_empty,
            "",
            "it is empty; write paths = [\"dev.jsonl\"] or every = \"50 steps\""
        );
        let is_apart = every != Some(Steps(0));
        ensure!(
            is_apart,
            "every",
            "measurements cannot be 0 steps apart; write \"50 steps\" or remove the key"
        );
        ensure!(
            self.rows != Some(0),
            "rows",
            "0 rows measure nothing; write a number, or remove the key"
        );
        ensure!(
            has_paths || self.rows.is_none(),
            "rows",
            "it counts rows of `paths`, which is missing"
        );
        ensure!(
            !(has_paths && data.iter().any(|data| data.name == VALIDATION)),
            "paths",
            "reports call these rows `validation`, but a data set of the stage has that name; rename it"
        );
        let loads = self.best != BestCheckpoint::None;
        ensure!(
            every.is_some() || !loads,
            "best",
            "finding the best needs measurements; write every = \"50 steps\""
        );
        let Some(stop) = &self.stop_early else {
            return Ok(());
        };
        ensure!(
            every.is_some(),
            "stop_early",
            "stopping needs measurements; write every = \"50 steps\" too"
        );
        ensure!(
            stop.patience > 0,
            "stop_early",
            "patience cannot be 0; write patience = 3 or the like"
        );
        let is_loss = stop.min_delta.is_finite() && stop.min_delta >= 0.0;
        ensure!(
            is_loss,
            "stop_early",
            "min_delta is a loss, 0 or more; write 0.01 or leave it out"
        );
        Ok(())
    }
}
