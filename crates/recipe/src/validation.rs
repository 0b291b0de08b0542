//! `[stage.validation]`: measuring a stage on conversations or pairs while it trains, and acting on the result.
//!
//! ```toml
//! validation = { paths = ["dev.jsonl"], every = "50 steps", best = "load", stop_early = { patience = 3 } }
//! ```

use serde::{Deserialize, Serialize};

use crate::conversations::{Conversations, is_default};
use crate::error::Problem;
use crate::units::Steps;

/// What a stage is measured on, when, and with which consequences.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// How the best checkpoint is treated: the last whose loss fell by more than `min_delta`.
    #[serde(skip_serializing_if = "is_default")]
    pub best: BestCheckpoint,
    /// End the stage when the loss no longer falls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_early: Option<StopEarly>,
}

/// How the best checkpoint of a stage is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

    /// Its files as data; `None` where it has none.
    pub fn data(&self) -> Option<Conversations> {
        (!self.paths.is_empty()).then(|| Conversations {
            name: VALIDATION.to_owned(),
            paths: self.paths.clone(),
            rows: self.rows,
            ..Conversations::default()
        })
    }

    /// `data` are the stage's training rows.
    pub(crate) fn check(&self, data: &[Conversations]) -> Result<(), Problem> {
        let at = |key: &str, message: &str| Err(Problem::at(key, message.to_owned()));
        if *self == Self::default() {
            return at(
                "",
                "it says nothing; write paths = [\"dev.jsonl\"] or every = \"50 steps\"",
            );
        }
        if self.every == Some(Steps(0)) {
            return at(
                "every",
                "measurements cannot be 0 steps apart; write \"50 steps\" or remove the key",
            );
        }
        if self.rows == Some(0) {
            return at(
                "rows",
                "nothing can be measured on 0 rows; write how many, or remove the key",
            );
        }
        if self.rows.is_some() && self.paths.is_empty() {
            return at("rows", "they are rows of `paths`, which are missing");
        }
        if !self.paths.is_empty() && data.iter().any(|data| data.name == VALIDATION) {
            return at(
                "paths",
                "reports call these rows `validation`, as a data set of the stage is called; rename that",
            );
        }
        let unmeasured = self.every.is_none();
        if self.best != BestCheckpoint::None && unmeasured {
            return at(
                "best",
                "the best is known by measuring meanwhile; write every = \"50 steps\" too",
            );
        }
        let Some(stop) = &self.stop_early else {
            return Ok(());
        };
        if unmeasured {
            return at(
                "stop_early",
                "it is decided by measuring meanwhile; write every = \"50 steps\" too",
            );
        }
        if stop.patience == 0 {
            return at(
                "stop_early",
                "a stage cannot end before it is measured; write patience = 3 or the like",
            );
        }
        if !(stop.min_delta.is_finite() && stop.min_delta >= 0.0) {
            return at(
                "stop_early",
                "min_delta is a loss, 0 or more; write 0.01 or leave it out",
            );
        }
        Ok(())
    }
}
