//! A stage's training from its first step to its last: phases, their steps, the learning rate.

use std::ops::{Deref, RangeInclusive};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Problem, RecipeError, ensure};
use crate::key_path::KeyPath;
use crate::keys::FileOr;
use crate::mixture::Mixture;
use crate::optimisation::Optimisation;
use crate::schedule::Schedule;
use crate::units::{Span, Steps};

/// An optimisation with its length, as the training loop runs it. Dereferences to its [`Optimisation`].
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Batch, optimizer, schedule and so on.
    pub optimisation: Optimisation,
    /// How token losses become one number.
    pub loss: Loss,
    /// The phases in order; a stage on conversations or pairs is one phase.
    pub phases: Vec<Phase>,
}

impl Deref for Training {
    type Target = Optimisation;

    fn deref(&self) -> &Optimisation {
        &self.optimisation
    }
}

/// A stretch of a stage with one mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Where it ends, counted from the beginning of the stage and rounded to the nearest step.
    pub until: Span,
    /// The text that it trains on.
    #[schemars(with = "FileOr<Mixture>")]
    pub mixture: Mixture,
}

/// `[stage.loss]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// What a step's loss is averaged over.
    pub average: LossAverage,
}

/// What a step's loss is averaged over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossAverage {
    /// The target tokens of the global batch.
    #[default]
    Tokens,
    /// The micro-batches, each the mean over its own target tokens: the original's loss.
    MeanOfMeans,
}

/// The prepared data of a stage on conversations or on pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PreparedData {
    /// Packed rows, or pairs.
    pub rows: u64,
    /// Tokens, prompts of pairs counted twice.
    pub tokens: u64,
}

/// 9,007T tokens: beyond any run, and still exact when multiplied by a weight in f64.
pub(crate) const MOST_TOKENS: u64 = 1 << 53;

impl Training {
    /// One phase of `steps` steps without a mixture.
    pub(crate) fn of_steps(name: &str, optimisation: Optimisation, loss: Loss, steps: u64) -> Self {
        let phase = Phase {
            name: name.to_owned(),
            until: Span::Steps(Steps(steps)),
            mixture: Mixture::default(),
        };
        Self {
            optimisation,
            loss,
            phases: vec![phase],
        }
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
        let (peak, steps) = (self.optimizer.learning_rate, self.total_steps());
        let schedule = &self.optimisation.schedule;
        schedule
            .resolve(peak, steps, self.tokens_per_step().max(1))
            .map_err(|problem| problem.below("schedule"))
    }

    /// Checks phases and schedule.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.check_phases()?;
        self.resolve_schedule().map(|_| ())
    }

    fn check_phases(&self) -> Result<(), Problem> {
        ensure!(
            !self.phases.is_empty(),
            "phase",
            "there is no phase; write at least one [[stage.phase]]"
        );
        let mut before = 0;
        for (index, phase) in self.phases.iter().enumerate() {
            let check = || {
                let (name, end) = (&phase.name, self.end_step(phase));
                let is_twice = self.phases[..index].iter().any(|earlier| earlier.name == *name);
                ensure!(
                    !is_twice,
                    "name",
                    "an earlier phase is called `{name}` too; rename one"
                );
                ensure!(
                    !matches!(phase.until, Span::Percent(_)),
                    "until",
                    "a phase cannot be a percentage; write tokens (\"8T\") or \"2000 steps\""
                );
                ensure!(
                    end > before,
                    "until",
                    "it ends with step {end}, but the phase before ends with step {before}; \
                     write the phases in order, each at least one step long"
                );
                let tokens = end.checked_mul(self.tokens_per_step());
                ensure!(
                    tokens.is_some_and(|tokens| tokens <= MOST_TOKENS),
                    "until",
                    "a stage cannot have more than 9,007T tokens; write a shorter one"
                );
                Ok(end)
            };
            let path = KeyPath::default().key("phase").index(index);
            before = check().map_err(|problem: Problem| problem.under(path))?;
        }
        Ok(())
    }
}
