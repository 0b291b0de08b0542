//! `[stage.validation]`: what a stage on conversations or pairs is measured on meanwhile, and what follows from it.
//!
//! ```toml
//! validation = { paths = ["dev.jsonl"], every = "50 steps", best = "load", stop_early = { patience = 3 } }
//! ```

use serde::{Deserialize, Serialize};

use crate::conversations::{Conversations, is_default};
use crate::error::Problem;
use crate::units::Steps;

/// What a stage is measured on, and when.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Files of rows that are not trained on, in the place of the share that `[data] held_out` keeps back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// So many of their rows, chosen by the run's seed; all when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Measure after every so many steps, besides the beginning and the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Steps>,
    /// What becomes of the best checkpoint: the last whose loss fell by more than `min_delta`.
    #[serde(skip_serializing_if = "is_default")]
    pub best: BestCheckpoint,
    /// End the stage where the loss no longer falls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_early: Option<StopEarly>,
}

/// What becomes of the best checkpoint of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BestCheckpoint {
    /// Nothing.
    #[default]
    None,
    /// It is written where no other is due, and never removed.
    Keep,
    /// So it is, and stands for the stage: later stages start from it, and it is what is evaluated.
    Load,
}

/// When a stage ends before its last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopEarly {
    /// After so many measurements in a row that are no better than the best.
    pub patience: u32,
    /// Better is lower by more than this.
    #[serde(default)]
    pub min_delta: f64,
}

/// The name of the rows in reports.
pub const VALIDATION: &str = "validation";

impl Validation {
    /// How much lower than the best a loss must be to be better.
    pub fn min_delta(&self) -> f64 {
        self.stop_early.as_ref().map_or(0.0, |stop| stop.min_delta)
    }

    /// Whether the stage is measured after this step, whatever ends with it.
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

    /// `data` are the rows that the stage is trained on.
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
