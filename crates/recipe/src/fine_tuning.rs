//! Stages on conversations: `mid-train` and `sft`. One optimisation over rows that conversations are packed into.
//!
//! How many rows there are, and so how many steps, is known when the conversations are tokenised; until then a stage
//! that is counted in epochs has no steps. [`FineTuning::training`] makes the [`Training`] that the loop runs.

use serde::{Deserialize, Serialize};
use smollm3_packing::{PackError, Packing, Settings, TooLong};

use crate::conversations::{
    ChatText, Conversations, Duration, Learned, RowsOf, SpecialTokens, TemplateChoice, TemplateDrops,
    check_data, check_date, is_default,
};
use crate::error::Problem;
use crate::key_path::KeyPath;
use crate::lora::Lora;
use crate::mixture::Mixture;
use crate::optimizer::{Optimizer, TunedOptimizer};
use crate::schedule::ScheduleSettings;
use crate::training::{Checkpoints, Guards, Loss, MOST_TOKENS, OptimizerState, Phase, Recompute, Training};
use crate::units::{BatchSize, ContextLength, Sequences, Span, Steps};
use crate::validation::Validation;

/// One optimisation over packed conversations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FineTuning {
    /// Tokens of a row.
    pub sequence_length: ContextLength,
    /// What one optimizer step sees, over all ranks.
    pub global_batch: BatchSize,
    /// Rows that a device computes at once.
    pub micro_batch: Sequences,
    /// How long it is.
    #[serde(flatten)]
    pub duration: Duration,
    /// What turns a conversation into text.
    pub template: TemplateChoice,
    /// The date that the template may ask for, `YYYY-MM-DD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// What becomes of a row that the template does not write whole.
    #[serde(skip_serializing_if = "is_default")]
    pub template_drops: TemplateDrops,
    /// What becomes of special tokens that a row spells.
    #[serde(skip_serializing_if = "is_default")]
    pub special_tokens: SpecialTokens,
    /// The tokens that the loss is about.
    pub learned: Learned,
    /// How conversations share rows.
    pub packing: Packing,
    /// What becomes of a conversation longer than a row.
    pub too_long: TooLong,
    /// Pack so many conversations at a time instead of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack_group: Option<usize>,
    /// The conversations: `[[stage.data]]` tables, or `data = "sft.toml"` for a file of `[[data]]` tables.
    pub data: Vec<Conversations>,
    /// AdamW.
    pub optimizer: Optimizer,
    /// The learning rate over the stage.
    pub schedule: ScheduleSettings,
    /// The moments that the optimizer starts with.
    pub optimizer_state: OptimizerState,
    /// What is computed again in the backward pass instead of kept.
    pub recompute: Recompute,
    /// When to save.
    pub checkpoint: Checkpoints,
    /// How token losses become one number.
    pub loss: Loss,
    /// What is done about steps that go wrong.
    pub guards: Guards,
    /// Adapters that are trained in the place of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// What it is measured on meanwhile, and what follows from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
}

/// What is written; defaults depend on the kind of stage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    sequence_length: ContextLength,
    global_batch: BatchSize,
    micro_batch: Sequences,
    epochs: Option<f64>,
    until: Option<Span>,
    template: Option<TemplateChoice>,
    date: Option<String>,
    #[serde(default)]
    template_drops: TemplateDrops,
    #[serde(default)]
    special_tokens: SpecialTokens,
    learned: Option<Learned>,
    packing: Option<Packing>,
    too_long: Option<TooLong>,
    pack_group: Option<usize>,
    #[serde(default)]
    data: Vec<Conversations>,
    optimizer: TunedOptimizer,
    schedule: ScheduleSettings,
    #[serde(default)]
    optimizer_state: OptimizerState,
    #[serde(default)]
    recompute: Recompute,
    #[serde(default)]
    checkpoint: Checkpoints,
    #[serde(default)]
    loss: Loss,
    #[serde(default)]
    guards: Guards,
    lora: Option<Lora>,
    validation: Option<Validation>,
}

/// What a stage does where the recipe does not say.
pub(crate) struct Defaults {
    pub template: &'static str,
    pub learned: Learned,
    pub packing: Packing,
}

/// Reasoning mid-training: plain ChatML, everything is learned, one stream of tokens.
pub(crate) const MID_TRAIN: Defaults = Defaults {
    template: "chatml",
    learned: Learned::All,
    packing: Packing::Wrapped,
};

/// Supervised fine-tuning: SmolLM3's template, the answers are learned, best fit.
pub(crate) const SFT: Defaults = Defaults {
    template: "smollm3",
    learned: Learned::Assistant,
    packing: Packing::Bfd,
};

impl Written {
    pub(crate) fn checked(self, defaults: &Defaults) -> Result<FineTuning, Problem> {
        let duration = Duration::of(self.epochs, self.until)?;
        let packing = self.packing.unwrap_or(defaults.packing);
        let mut stage = FineTuning {
            sequence_length: self.sequence_length,
            global_batch: self.global_batch,
            micro_batch: self.micro_batch,
            duration,
            template: self
                .template
                .unwrap_or_else(|| TemplateChoice::BuiltIn(defaults.template.to_owned())),
            date: self.date,
            template_drops: self.template_drops,
            special_tokens: self.special_tokens,
            learned: self.learned.unwrap_or(defaults.learned),
            packing,
            too_long: self.too_long.unwrap_or(packing.usual_too_long()),
            pack_group: self.pack_group,
            data: self.data,
            optimizer: self.optimizer.into(),
            schedule: self.schedule,
            optimizer_state: self.optimizer_state,
            recompute: self.recompute,
            checkpoint: self.checkpoint,
            loss: self.loss,
            guards: self.guards,
            lora: self.lora,
            validation: self.validation,
        };
        stage.check()?;
        stage.data.iter_mut().for_each(Conversations::with_one_name);
        Ok(stage)
    }
}

impl FineTuning {
    /// How rows become text.
    pub fn chat_text(&self) -> ChatText<'_> {
        ChatText {
            template: &self.template,
            date: self.date.as_deref(),
            template_drops: self.template_drops,
            special_tokens: self.special_tokens,
        }
    }

    /// How conversations become rows.
    pub fn packing(&self) -> Settings {
        Settings {
            // Beyond 32 bits a row is too long whatever its length.
            row: u32::try_from(self.sequence_length.0).unwrap_or(u32::MAX),
            packing: self.packing,
            too_long: self.too_long,
            group: self.pack_group,
        }
    }

    /// The training of a stage of this name once it is known how many rows there are.
    pub fn training(&self, name: &str, rows: u64) -> Training {
        self.training_of(name, self.steps(rows))
    }

    /// The training, where its steps do not depend on the data.
    pub fn planned(&self, name: &str) -> Option<Training> {
        match self.duration {
            Duration::Until(_) => Some(self.training_of(name, self.steps(0))),
            Duration::Epochs(_) => None,
        }
    }

    fn steps(&self, rows: u64) -> u64 {
        let one = self.training_of("", 1);
        let steps = match self.duration {
            Duration::Epochs(epochs) => {
                (epochs * rows as f64 / one.sequences_per_step().max(1) as f64).round() as u64
            }
            Duration::Until(until) => until.steps(one.tokens_per_step().max(1), 0),
        };
        steps.max(1)
    }

    fn training_of(&self, name: &str, steps: u64) -> Training {
        Training {
            sequence_length: self.sequence_length,
            global_batch: self.global_batch,
            micro_batch: self.micro_batch,
            optimizer_state: self.optimizer_state,
            recompute: self.recompute,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            phases: vec![Phase {
                name: name.to_owned(),
                until: Span::Steps(Steps(steps)),
                mixture: Mixture::default(),
            }],
            checkpoint: self.checkpoint.clone(),
            loss: self.loss,
            guards: self.guards.clone(),
        }
    }

    /// The key that says how long the stage is, and the steps with which its settings are checked.
    fn steps_to_check(&self) -> Result<(&'static str, u64), Problem> {
        let per_step = self.training_of("", 1).tokens_per_step().max(1);
        let Duration::Until(until) = self.duration else {
            // Not known yet. With as many as there can be: what is wrong with the schedule then is wrong with any.
            return Ok(("epochs", (MOST_TOKENS / per_step).max(1)));
        };
        match until.steps(per_step, 0) {
            0 => {
                let message = format!(
                    "{until} are less than a step of {per_step} tokens; write \"200 steps\" or the like"
                );
                Err(Problem::at("until", message))
            }
            steps => Ok(("until", steps)),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        let (key, steps) = self.steps_to_check()?;
        self.training_of("", steps).check_settings().map_err(|problem| {
            // The only phase is the stage, and is written as its length.
            match problem.path.below(&KeyPath::default().key("phase")) {
                Some(_) => Problem::at(key, problem.message),
                None => problem,
            }
        })?;
        self.packing().check().map_err(|error| {
            let key = match error {
                PackError::Row { .. } => "sequence_length",
                PackError::EmptyGroup | PackError::GroupOfNone { .. } => "pack_group",
                _ => "too_long",
            };
            Problem::at(key, error.to_string())
        })?;
        check_date(self.date.as_deref())?;
        if let Some(lora) = &self.lora {
            lora.check()
                .map_err(|problem| problem.under(KeyPath::default().key("lora")))?;
            if self.optimizer_state == OptimizerState::Keep {
                let message =
                    "the moments of the checkpoint are of its weights, not of adapters; write \"fresh\"";
                return Err(Problem::at("optimizer_state", message.to_owned()));
            }
        }
        if let Some(validation) = &self.validation {
            validation
                .check(&self.data)
                .map_err(|problem| problem.under(KeyPath::default().key("validation")))?;
        }
        check_data(&self.data, RowsOf::Conversations)
    }
}
