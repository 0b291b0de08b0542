//! How a stage is trained, whatever it reads: batch, optimizer, schedule, checkpoints, guards, adapters, validation.
//!
//! The kinds of stage that train share these keys, though none has all of them and AdamW's defaults differ. Each key is
//! read and checked here, once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversations::Reads;
use crate::error::{Problem, RecipeError, ensure};
use crate::lora::Lora;
use crate::optimizer::{Optimizer, tuned};
use crate::schedule::ScheduleSettings;
use crate::section::Section;
use crate::units::{BatchSize, ContextLength, Pairs, Sequences, Steps, Tokens};
use crate::validation::Validation;

/// The keys that the kinds of stage share.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Optimisation {
    /// Tokens of a row; for pairs, of the longest prompt with an answer.
    pub sequence_length: ContextLength,
    /// Rows, or pairs, of an optimizer step, over all ranks.
    pub global_batch: BatchSize,
    /// Rows that a device computes at once. Stages on pairs lack this key: a device computes one row of pairs at a time.
    pub micro_batch: Sequences,
    /// The optimizer's first moments.
    #[schemars(default)]
    pub optimizer_state: OptimizerState,
    /// What the backward pass recomputes.
    #[schemars(default)]
    pub recompute: Recompute,
    /// AdamW.
    pub optimizer: Optimizer,
    /// The learning rate over the stage.
    pub schedule: ScheduleSettings,
    /// When to save.
    #[schemars(default)]
    pub checkpoint: Checkpoints,
    /// How bad steps are handled.
    #[schemars(default)]
    pub guards: Guards,
    /// Adapters to train instead of the weights; not for stages on text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// What the stage is measured on during training; not for stages on text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
}

/// `[stage.guards]`: how bad steps are handled. A loss or gradient norm that is not finite never leads to an update; a
/// spike is one far above those of the steps before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// Whether a spike's update is made.
    pub spikes: Spikes,
    /// How far above the median of the window a spike is, in robust standard deviations (1.4826 times the median
    /// distance from the median).
    pub spike_sigma: f64,
    /// The number of steps that a step is compared with. Nothing counts as a spike until half of them are done.
    pub spike_window: Steps,
    /// After this many steps in a row without an update, the run returns to its last checkpoint and skips the data up to
    /// here; if that happens again, it stops.
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
        let (sigma, window) = (self.spike_sigma, self.spike_window.0);
        let is_positive = sigma.is_finite() && sigma > 0.0;
        ensure!(
            is_positive,
            "spike_sigma",
            "it must be a positive number; write 6.0"
        );
        let is_window = (8..=100_000).contains(&window);
        ensure!(
            is_window,
            "spike_window",
            "a window has 8 to 100,000 steps; write \"128 steps\""
        );
        ensure!(
            self.patience.0 > 0,
            "patience",
            "it must be at least one step; write \"10 steps\""
        );
        Ok(())
    }
}

/// Whether the update of a spike is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spikes {
    /// It is made, and the step is recorded.
    #[default]
    Log,
    /// It is skipped, and the step is recorded.
    Skip,
}

/// What the backward pass recomputes instead of keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: fastest, and takes the most memory.
    #[default]
    None,
    /// Each layer, from its input: memory of one layer only, a third more time.
    Layers,
}

/// The optimizer's first moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerState {
    /// Zeros.
    #[default]
    Fresh,
    /// Those of the checkpoint that the stage starts from.
    Keep,
}

/// `[stage.checkpoint]`. The end of each phase is always saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// The number of steps between two.
    pub every: Option<Steps>,
    /// How many of the newest to keep, at least 1, not counting those written when a run is stopped.
    pub keep: u32,
    /// Checkpoints at multiples of this are never removed.
    pub permanent: Option<Steps>,
}

impl Checkpoints {
    fn check(&self) -> Result<(), Problem> {
        for (key, steps) in [("every", self.every), ("permanent", self.permanent)] {
            ensure!(
                steps != Some(Steps(0)),
                key,
                "checkpoints cannot be 0 steps apart; write \"2000 steps\" or remove the key"
            );
        }
        ensure!(
            self.keep > 0,
            "keep",
            "without its newest checkpoint a stopped run starts over; write keep = 1 or more"
        );
        Ok(())
    }
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            every: None,
            keep: 3,
            permanent: None,
        }
    }
}

/// The most rows, or pairs, of a step: their numbers are kept in memory.
const MOST_ROWS: u64 = 1 << 24;

impl Optimisation {
    /// Takes its keys out of a stage's table.
    pub(crate) fn read(stage: &mut Section<'_>, reads: Reads) -> Result<Self, RecipeError> {
        let (on_text, on_pairs) = (reads == Reads::Text, reads == Reads::Pairs);
        if !on_text {
            stage.complete("optimizer", tuned());
        }
        Ok(Self {
            sequence_length: stage.required("sequence_length", "sequence_length = \"4k\" or the like")?,
            global_batch: match on_pairs {
                true => BatchSize::Pairs(stage.required("global_batch", "global_batch = \"32 pairs\"")?),
                false => stage.required("global_batch", "global_batch = \"576 sequences\"")?,
            },
            micro_batch: match on_pairs {
                true => Sequences(1),
                false => stage.required("micro_batch", "micro_batch = \"1 sequence\"")?,
            },
            optimizer_state: match on_pairs {
                true => OptimizerState::Fresh,
                false => stage.or_default("optimizer_state")?,
            },
            recompute: stage.or_default("recompute")?,
            optimizer: stage.required("optimizer", "optimizer = { learning_rate = 1e-4 }")?,
            schedule: stage.required("schedule", "schedule = { kind = \"constant\" }")?,
            checkpoint: stage.or_default("checkpoint")?,
            guards: stage.or_default("guards")?,
            lora: if on_text { None } else { stage.optional("lora")? },
            validation: match on_text {
                true => None,
                false => stage.optional("validation")?,
            },
        })
    }

    /// Rows, or pairs, of an optimizer step.
    pub fn sequences_per_step(&self) -> u64 {
        match self.global_batch {
            BatchSize::Sequences(Sequences(rows)) | BatchSize::Pairs(Pairs(rows)) => rows,
            BatchSize::Tokens(Tokens(tokens)) => tokens / self.sequence_length.0.max(1),
        }
    }

    /// Tokens of an optimizer step.
    pub fn tokens_per_step(&self) -> u64 {
        self.sequences_per_step().saturating_mul(self.sequence_length.0)
    }

    /// Checks all but the schedule, which needs the stage's length, and the validation, which needs its data.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.check_batch()?;
        let below = |key: &'static str| move |problem: Problem| problem.below(key);
        self.optimizer.check().map_err(below("optimizer"))?;
        self.guards.check().map_err(below("guards"))?;
        self.checkpoint.check().map_err(below("checkpoint"))?;
        let Some(lora) = &self.lora else { return Ok(()) };
        ensure!(
            self.optimizer_state == OptimizerState::Fresh,
            "optimizer_state",
            "the checkpoint has moments of its weights, not of adapters; write \"fresh\""
        );
        lora.check().map_err(below("lora"))
    }

    fn check_batch(&self) -> Result<(), Problem> {
        let length = self.sequence_length.0;
        if let BatchSize::Tokens(Tokens(tokens)) = self.global_batch {
            ensure!(
                tokens.is_multiple_of(length),
                "global_batch",
                "{tokens} tokens are not a whole number of rows of {length}; write \"{} sequences\"",
                tokens.div_ceil(length)
            );
        }
        let (rows, unit, example) = match self.global_batch {
            BatchSize::Pairs(_) => ("pairs", "pairs", "\"32 pairs\""),
            _ => ("rows", "sequences", "a batch such as \"576 sequences\""),
        };
        let (global, micro) = (self.sequences_per_step(), self.micro_batch.0);
        ensure!(
            global > 0,
            "global_batch",
            "a step cannot have 0 {unit}; write {example}"
        );
        ensure!(
            global <= MOST_ROWS,
            "global_batch",
            "a step of {global} {rows} is too large to be listed; write at most \"{MOST_ROWS} {unit}\""
        );
        ensure!(
            global.checked_mul(length).is_some(),
            "global_batch",
            "a step cannot have 2^64 tokens or more; write a smaller batch"
        );
        ensure!(
            micro > 0 && global.is_multiple_of(micro),
            "micro_batch",
            "{micro} sequences do not divide the global batch of {global}; write a divisor of it"
        );
        Ok(())
    }
}
