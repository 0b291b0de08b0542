//! What the stages that train on token rows have in common: batch, optimizer, schedule, phases, checkpoints, loss.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::{Problem, RecipeError};
use crate::key_path::KeyPath;
use crate::mixture::Mixture;
use crate::optimizer::Optimizer;
use crate::schedule::{Schedule, ScheduleSettings};
use crate::source::Source;
use crate::units::{BatchSize, ContextLength, Sequences, Span, Steps, Tokens};

/// One optimisation over token rows, with one schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Tokens of a row.
    pub sequence_length: ContextLength,
    /// What one optimizer step sees, over all ranks.
    pub global_batch: BatchSize,
    /// Rows that a device computes at once.
    pub micro_batch: Sequences,
    /// The moments that the optimizer starts with.
    #[serde(default)]
    pub optimizer_state: OptimizerState,
    /// What is computed again in the backward pass instead of kept.
    #[serde(default)]
    pub recompute: Recompute,
    /// AdamW.
    pub optimizer: Optimizer,
    /// The learning rate over the stage.
    pub schedule: ScheduleSettings,
    /// The mixtures, in order.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
    /// When to save.
    #[serde(default)]
    pub checkpoint: Checkpoints,
    /// How token losses become one number.
    #[serde(default)]
    pub loss: Loss,
    /// What is done about steps that go wrong.
    #[serde(default)]
    pub guards: Guards,
}

/// `[stage.guards]`: what is done about steps that go wrong. A loss or gradient norm that is not finite is never
/// trained on; a spike is one far above those of the steps before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// What becomes of the update of a spike.
    pub spikes: Spikes,
    /// How far above the median of the window is a spike, in robust standard deviations (1.4826 times the median
    /// distance from the median).
    pub spike_sigma: f64,
    /// The steps that a step is compared with; until half of them are there, nothing is a spike.
    pub spike_window: Steps,
    /// After so many steps without an update in a row, the run goes back to its last checkpoint and leaves out the
    /// data up to there; if that happens once more, it stops.
    pub patience: Steps,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            spikes: Spikes::Log,
            spike_sigma: 6.0,
            spike_window: Steps(128),
            patience: Steps(10),
        }
    }
}

impl Guards {
    fn check(&self) -> Result<(), Problem> {
        if !(self.spike_sigma.is_finite() && self.spike_sigma > 0.0) {
            let message = "it must be a positive number; write 6.0";
            return Err(Problem::at("spike_sigma", message.to_owned()));
        }
        if !(8..=100_000).contains(&self.spike_window.0) {
            let message = "a window has 8 to 100,000 steps; write \"128 steps\"";
            return Err(Problem::at("spike_window", message.to_owned()));
        }
        if self.patience.0 == 0 {
            let message = "it must be one step at least; write \"10 steps\"";
            return Err(Problem::at("patience", message.to_owned()));
        }
        Ok(())
    }
}

/// What becomes of the update of a spike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spikes {
    /// It is made, and the step is recorded.
    #[default]
    Log,
    /// It is left out, and the step is recorded.
    Skip,
}

/// What is computed again in the backward pass instead of kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: the fastest, and the most memory.
    #[default]
    None,
    /// Each layer, from its input: memory for one layer, for a third more time.
    Layers,
}

/// The moments that the optimizer of a stage starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerState {
    /// Zeros.
    #[default]
    Fresh,
    /// Those of the checkpoint that the stage starts from.
    Keep,
}

/// A stretch of a stage with one mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Where it ends, counted from the beginning of the stage; rounded to the nearest whole step.
    pub until: Span,
    /// What it is trained on.
    pub mixture: Mixture,
}

/// `[stage.checkpoint]`. The end of each phase is always saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    /// Save after every so many steps.
    #[serde(default)]
    pub every: Option<Steps>,
    /// How many of the newest to keep, 1 at least; those that a stop writes are not counted.
    #[serde(default = "Checkpoints::default_keep")]
    pub keep: u32,
    /// Checkpoints at multiples of this are never removed.
    #[serde(default)]
    pub permanent: Option<Steps>,
}

impl Checkpoints {
    fn default_keep() -> u32 {
        3
    }

    fn check(&self) -> Result<(), Problem> {
        for (key, steps) in [("every", self.every), ("permanent", self.permanent)] {
            if steps == Some(Steps(0)) {
                let message = "checkpoints cannot be 0 steps apart; write \"2000 steps\" or remove the key";
                return Err(Problem::at(key, message.to_owned()));
            }
        }
        if self.keep == 0 {
            let message =
                "the newest checkpoint must stay, or a stopped run begins anew; write keep = 1 or more";
            return Err(Problem::at("keep", message.to_owned()));
        }
        Ok(())
    }
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            every: None,
            keep: Self::default_keep(),
            permanent: None,
        }
    }
}

/// `[stage.loss]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// What the loss of a step is an average over.
    #[serde(default)]
    pub average: LossAverage,
}

/// What the loss of a step is an average over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossAverage {
    /// The target tokens of the global batch.
    #[default]
    Tokens,
    /// The micro-batches, each the mean over its own target tokens: the original's loss.
    MeanOfMeans,
}

/// 9,007T tokens: beyond any run, and still exact when multiplied by a weight in f64.
pub(crate) const MOST_TOKENS: u64 = 1 << 53;

/// Rows, or pairs, of a step: their numbers are kept in memory.
pub(crate) const MOST_ROWS: u64 = 1 << 24;

impl Training {
    /// Rows of one optimizer step.
    pub fn sequences_per_step(&self) -> u64 {
        match self.global_batch {
            BatchSize::Sequences(Sequences(sequences)) => sequences,
            BatchSize::Tokens(Tokens(tokens)) => tokens / self.sequence_length.0.max(1),
        }
    }

    /// Tokens of one optimizer step.
    pub fn tokens_per_step(&self) -> u64 {
        self.sequences_per_step().saturating_mul(self.sequence_length.0)
    }

    /// Steps of the stage.
    pub fn total_steps(&self) -> u64 {
        self.phases.last().map_or(0, |phase| self.end_step(phase))
    }

    /// The last step of `phase`, the nearest to what was asked.
    pub fn end_step(&self, phase: &Phase) -> u64 {
        phase.until.steps(self.tokens_per_step().max(1), 0)
    }

    /// The first and the last step of each phase; steps count from 1.
    pub fn phase_steps(&self) -> Vec<RangeInclusive<u64>> {
        let ends = self.phases.iter().map(|phase| self.end_step(phase));
        let starts = [0].into_iter().chain(ends.clone());
        starts.zip(ends).map(|(before, end)| before + 1..=end).collect()
    }

    /// The learning rate as a function of the step.
    ///
    /// # Errors
    /// Settings that do not fit the stage; a loaded recipe has none.
    pub fn schedule(&self) -> Result<Schedule, RecipeError> {
        self.resolve_schedule().map_err(RecipeError::unplaced)
    }

    fn resolve_schedule(&self) -> Result<Schedule, Problem> {
        self.schedule
            .resolve(
                self.optimizer.learning_rate,
                self.total_steps(),
                self.tokens_per_step().max(1),
            )
            .map_err(|problem| problem.under(KeyPath::default().key("schedule")))
    }

    pub(crate) fn check(&mut self, sources: &BTreeMap<String, Source>) -> Result<(), Problem> {
        self.check_settings()?;
        for (index, phase) in self.phases.iter_mut().enumerate() {
            let path = KeyPath::default().key("phase").index(index).key("mixture");
            phase
                .mixture
                .resolve(sources)
                .map_err(|problem| problem.under(path))?;
        }
        Ok(())
    }

    /// All but the mixtures.
    pub(crate) fn check_settings(&self) -> Result<(), Problem> {
        self.check_batch()?;
        self.check_phases()?;
        self.optimizer
            .check()
            .map_err(|problem| problem.under(KeyPath::default().key("optimizer")))?;
        self.resolve_schedule()?;
        self.guards
            .check()
            .map_err(|problem| problem.under(KeyPath::default().key("guards")))?;
        self.checkpoint
            .check()
            .map_err(|problem| problem.under(KeyPath::default().key("checkpoint")))
    }

    fn check_batch(&self) -> Result<(), Problem> {
        let length = self.sequence_length.0;
        if let BatchSize::Tokens(Tokens(tokens)) = self.global_batch
            && !tokens.is_multiple_of(length)
        {
            return Err(Problem::at(
                "global_batch",
                format!(
                    "{tokens} tokens are no whole number of rows of {length}; write \"{} sequences\"",
                    tokens.div_ceil(length)
                ),
            ));
        }
        let (global, micro) = (self.sequences_per_step(), self.micro_batch.0);
        if global == 0 {
            let message = "a step cannot have 0 sequences; write a batch such as \"576 sequences\"";
            return Err(Problem::at("global_batch", message.to_owned()));
        }
        if global > MOST_ROWS {
            let message = format!(
                "a step of {global} rows is too large to be listed; write at most \"{MOST_ROWS} sequences\""
            );
            return Err(Problem::at("global_batch", message));
        }
        if global.checked_mul(length).is_none() {
            let message = "so many tokens cannot be counted (2^64); write a smaller batch";
            return Err(Problem::at("global_batch", message.to_owned()));
        }
        if micro == 0 || !global.is_multiple_of(micro) {
            return Err(Problem::at(
                "micro_batch",
                format!(
                    "{micro} sequences do not divide the global batch of {global}; write a divisor of it"
                ),
            ));
        }
        Ok(())
    }

    fn check_phases(&self) -> Result<(), Problem> {
        let at = |index: usize, key: &str, message: String| {
            Err(Problem::at(key, message).under(KeyPath::default().key("phase").index(index)))
        };
        if self.phases.is_empty() {
            let message = "there is no phase; write at least one [[stage.phase]]";
            return Err(Problem::at("phase", message.to_owned()));
        }
        let mut before = 0;
        for (index, phase) in self.phases.iter().enumerate() {
            if self
                .phases
                .iter()
                .take(index)
                .any(|earlier| earlier.name == phase.name)
            {
                return at(
                    index,
                    "name",
                    format!("an earlier phase is called `{}` as well; rename one", phase.name),
                );
            }
            if matches!(phase.until, Span::Percent(_)) {
                let message =
                    "the phases are what the stage is made of; write tokens (\"8T\") or \"2000 steps\"";
                return at(index, "until", message.to_owned());
            }
            let end = self.end_step(phase);
            if end <= before {
                return at(
                    index,
                    "until",
                    format!(
                        "it ends with step {end}, but the phase before ends with step {before}; \
                         write the phases in order, each one step long at least"
                    ),
                );
            }
            before = end;
        }
        if before
            .checked_mul(self.tokens_per_step())
            .is_none_or(|tokens| tokens > MOST_TOKENS)
        {
            let message = "a stage cannot have more than 9,007T tokens; write a shorter one";
            return at(self.phases.len() - 1, "until", message.to_owned());
        }
        Ok(())
    }
}
