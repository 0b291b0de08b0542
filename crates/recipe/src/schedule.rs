//! The learning rate as a pure function of the step.
//!
//! Steps count from 1, as the original's do. The optimizer steps before its scheduler advances, so step k uses
//! the index c = k − 1, the number of steps already done: with a warm-up, the first step has a rate of 0.
//!
//! * `wsd`: warm-up, stable, decay, with nanotron's branches in nanotron's order (`lr_scheduler_builder` in
//!   helpers.py, branch smollm3). A cosine decay that starts where the warm-up ends is its long-context schedule.
//! * `cosine`: transformers' `get_cosine_with_min_lr_schedule_with_warmup`, over the whole stage.
//! * `constant`: warm-up, then the peak.
//!
//! Two quirks of the original are left out. Its scheduler advances by one more at every restart; here a resumed
//! run has the same rates as an uninterrupted one. And with a warm-up of 0 steps its first step still has a
//! rate of 0; here there is no warm-up then, as in transformers.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Problem, ensure};
use crate::units::Span;

/// `[stage.schedule]` as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSettings {
    /// Which schedule.
    pub kind: ScheduleKind,
    /// The steps over which the rate rises to its peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Span>,
    /// Where the warm-up starts, as a fraction of the peak; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_ratio: Option<f64>,
    /// `wsd`: the steps over which the rate falls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<Span>,
    /// `wsd`: the steps done when the rate begins to fall; by default the decay ends with the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_start: Option<Span>,
    /// `wsd`: the curve of the decay; linear when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<DecayShape>,
    /// The rate at the end of the decay, as a fraction of the peak; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ratio: Option<f64>,
}

/// The name of a schedule in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Warm-up, stable, decay.
    Wsd,
    /// Warm-up, then half a cosine over the rest of the stage.
    Cosine,
    /// Warm-up, then the peak to the end.
    Constant,
}

/// The curve from the peak to the minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DecayShape {
    /// A straight line.
    Linear,
    /// Half a cosine.
    Cosine,
    /// 1 − √x (Hägele et al. 2024, arXiv:2405.18392).
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

impl DecayShape {
    /// The height after `done` of `steps` steps, from 1 to 0. The line is not 1 − x/n, which would lose the last
    /// digits of a long decay's end.
    fn height(self, done: u64, steps: u64) -> f64 {
        let (done, steps) = (done as f64, steps as f64);
        match self {
            Self::Linear => (steps - done) / steps,
            Self::Cosine => (1.0 + (PI * done / steps).cos()) / 2.0,
            Self::OneMinusSqrt => 1.0 - (done / steps).sqrt(),
        }
    }
}

/// A learning-rate schedule with every length in steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// The rate rises over the indices 0 to `warmup`; 0 is no warm-up.
    pub warmup: u64,
    /// The rate at index 0 of a warm-up, as a fraction of the peak.
    pub initial_ratio: f64,
    /// What follows the warm-up.
    pub after_warmup: AfterWarmup,
}

/// The course of the rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AfterWarmup {
    /// The peak.
    Constant,
    /// The peak up to `start`, then `shape` over `steps`, then the minimum.
    Decay {
        /// The index at which the decay begins; there the factor is still 1.
        start: u64,
        /// The length of the decay; at index `start + steps` the minimum is reached.
        steps: u64,
        /// The curve.
        shape: DecayShape,
        /// The minimum, as a fraction of the peak.
        min_ratio: f64,
    },
    /// Half a cosine from the end of the warm-up to index `total`.
    Cosine {
        /// The steps of the stage.
        total: u64,
        /// The minimum, as a fraction of the peak.
        min_ratio: f64,
    },
}

impl Schedule {
    /// The rate of the update of step `step`, which counts from 1 (a 0 is read as 1).
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.peak * self.factor(step.saturating_sub(1))
    }

    /// The fraction of the peak after `done` steps, between 0 and 1.
    ///
    /// Past its end, a `wsd` stays at the minimum; a `cosine` rises again, as transformers' does, though no step
    /// of the stage is past its end.
    pub fn factor(&self, done: u64) -> f64 {
        if self.warmup > 0 && done <= self.warmup {
            let rise = done as f64 / self.warmup as f64;
            return self.initial_ratio + (1.0 - self.initial_ratio) * rise;
        }
        match self.after_warmup {
            AfterWarmup::Constant => 1.0,
            AfterWarmup::Decay {
                start,
                steps,
                shape,
                min_ratio,
            } => match done.checked_sub(start) {
                None => 1.0,
                Some(done) if done < steps => min_ratio + (1.0 - min_ratio) * shape.height(done, steps),
                Some(_) => min_ratio,
            },
            AfterWarmup::Cosine { total, min_ratio } => {
                let length = total.saturating_sub(self.warmup).max(1);
                min_ratio + (1.0 - min_ratio) * DecayShape::Cosine.height(done - self.warmup, length)
            }
        }
    }
}

impl ScheduleSettings {
    /// The schedule of a stage of `total_steps` steps of `tokens_per_step` tokens.
    ///
    /// # Errors
    /// A ratio outside 0 to 1, a setting that this kind does not have, or lengths that do not fit in the stage.
    pub(crate) fn resolve(
        &self,
        peak: f64,
        total_steps: u64,
        tokens_per_step: u64,
    ) -> Result<Schedule, Problem> {
        self.check_settings()?;
        let steps = |span: Span| span.steps(tokens_per_step, total_steps);
        let warmup = self.warmup.map_or(0, steps);
        ensure!(
            warmup <= total_steps,
            "warmup",
            "a warm-up of {warmup} steps is longer than the stage of {total_steps}; shorten it"
        );
        let min_ratio = self.min_ratio.unwrap_or(0.0);
        let after_warmup = match (self.kind, self.decay) {
            (ScheduleKind::Constant, _) => AfterWarmup::Constant,
            (ScheduleKind::Cosine, _) => AfterWarmup::Cosine {
                total: total_steps,
                min_ratio,
            },
            (ScheduleKind::Wsd, None) => {
                let message = "a wsd schedule needs the length of its decay; write decay = \"10%\"";
                return Err(Problem::at("", message));
            }
            (ScheduleKind::Wsd, Some(decay)) => {
                let decay = steps(decay);
                ensure!(
                    (1..=total_steps).contains(&decay),
                    "decay",
                    "a decay of {decay} steps does not fit a stage of {total_steps}; write decay = \"10%\""
                );
                let start = self.decay_start.map_or(total_steps - decay, steps);
                ensure!(
                    start <= total_steps,
                    "decay_start",
                    "step {start} is past the end of the stage, step {total_steps}; start the decay earlier"
                );
                ensure!(
                    start >= warmup,
                    self.decay_start.map_or("decay", |_| "decay_start"),
                    "the decay would begin after {start} steps, within the warm-up of {warmup}; shorten one of them"
                );
                AfterWarmup::Decay {
                    start,
                    steps: decay,
                    shape: self.shape.unwrap_or(DecayShape::Linear),
                    min_ratio,
                }
            }
        };
        Ok(Schedule {
            peak,
            warmup,
            initial_ratio: self.initial_ratio.unwrap_or(0.0),
            after_warmup,
        })
    }

    fn check_settings(&self) -> Result<(), Problem> {
        for (key, ratio) in [
            ("initial_ratio", self.initial_ratio),
            ("min_ratio", self.min_ratio),
        ] {
            let ratio = ratio.unwrap_or(0.0);
            let is_part = (0.0..=1.0).contains(&ratio);
            ensure!(
                is_part,
                key,
                "{ratio} is not a fraction of the peak; write a number from 0 to 1"
            );
        }
        let is_wsd = self.kind == ScheduleKind::Wsd;
        for (key, is_written, is_known) in [
            ("decay", self.decay.is_some(), is_wsd),
            ("decay_start", self.decay_start.is_some(), is_wsd),
            ("shape", self.shape.is_some(), is_wsd),
            (
                "min_ratio",
                self.min_ratio.is_some(),
                self.kind != ScheduleKind::Constant,
            ),
        ] {
            ensure!(
                !is_written || is_known,
                key,
                "this kind of schedule has no such setting; remove it, or write kind = \"wsd\""
            );
        }
        ensure!(
            self.initial_ratio.is_none() || self.warmup.is_some(),
            "initial_ratio",
            "it is where a warm-up starts, but there is none; add warmup = \"2000 steps\""
        );
        Ok(())
    }
}
