//! `apo`: training on pairs of answers, of which one is preferred. Anchored preference optimisation (D'Oosterlinck and
//! others 2024, arXiv:2408.06266), and direct preference optimisation (Rafailov and others 2023, arXiv:2305.18290) to
//! compare with.
//!
//! How many pairs there are, and how long they are, is known when they are tokenised. [`Preference::training`] makes the
//! [`Training`] that the loop runs; a row of it is an average pair.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::conversations::{
    ChatText, Conversations, Duration, RowsOf, SpecialTokens, TemplateChoice, TemplateDrops, check_data,
    check_date, is_default,
};
use crate::error::Problem;
use crate::key_path::KeyPath;
use crate::lora::Lora;
use crate::mixture::Mixture;
use crate::optimizer::{Optimizer, TunedOptimizer};
use crate::schedule::ScheduleSettings;
use crate::start::Start;
use crate::training::{Checkpoints, Guards, Loss, MOST_ROWS, OptimizerState, Phase, Recompute, Training};
use crate::units::{BatchSize, ContextLength, Pairs, Sequences, Span, Steps};
use crate::validation::Validation;

/// One optimisation over pairs of answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preference {
    /// Tokens of the longest prompt with an answer.
    pub sequence_length: ContextLength,
    /// What one optimizer step sees, over all ranks.
    pub global_batch: Pairs,
    /// Tokens that a device computes at once: pairs share rows of this length.
    pub row_length: ContextLength,
    /// How long it is.
    #[serde(flatten)]
    pub duration: Duration,
    /// What is minimised.
    pub loss: PreferenceLoss,
    /// Where the reference's log-probabilities come from.
    pub reference: Reference,
    /// The reference, if it is another checkpoint than the one that the stage starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_from: Option<Start>,
    /// What turns a pair into text.
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
    /// Whether a row's `chat_template_kwargs` reach the template.
    pub template_kwargs: TemplateKwargs,
    /// Whether a second end of turn follows each answer.
    pub extra_eos: bool,
    /// Tokens of a prompt that are kept, the last ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_limit: Option<ContextLength>,
    /// What becomes of a pair with an answer longer than `sequence_length`, its prompt included.
    pub too_long: TooLongPair,
    /// The pairs: `[[stage.data]]` tables.
    pub data: Vec<Conversations>,
    /// AdamW.
    pub optimizer: Optimizer,
    /// The learning rate over the stage.
    pub schedule: ScheduleSettings,
    /// What is computed again in the backward pass instead of kept.
    pub recompute: Recompute,
    /// When to save.
    pub checkpoint: Checkpoints,
    /// What is done about steps that go wrong.
    pub guards: Guards,
    /// Adapters that are trained in the place of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// What it is measured on meanwhile, and what follows from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
}

/// `[stage.loss]` of an `apo` stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreferenceLoss {
    /// The formula.
    pub kind: PreferenceKind,
    /// How strongly the model is held to the reference: log-ratios are multiplied by it.
    pub beta: f64,
    /// The part of the pairs that are taken to be the wrong way round.
    pub label_smoothing: f64,
    /// The weight of the chosen answer's own loss, nats a token.
    pub sft_weight: f64,
}

impl Default for PreferenceLoss {
    fn default() -> Self {
        Self {
            kind: PreferenceKind::ApoZero,
            beta: 0.05,
            label_smoothing: 0.0,
            sft_weight: 0.0,
        }
    }
}

/// The formula of a preference loss. With `c` and `r` the log-ratios of the chosen and the rejected answer to the reference,
/// times beta, and σ the logistic function:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreferenceKind {
    /// `1 − σ(c) + σ(r)`: the chosen answer becomes likelier, the rejected one less likely.
    ApoZero,
    /// `σ(c) + 1 − σ(c − r)`: both become less likely, the rejected one more so.
    ApoDown,
    /// `−ln σ(c − r)`: direct preference optimisation.
    Sigmoid,
}

/// Where the reference's log-probabilities come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// Computed once before training and kept: one model is in memory.
    #[default]
    Cached,
    /// Computed in each step by a second model in memory.
    Online,
}

/// Whether a row's `chat_template_kwargs` reach the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateKwargs {
    /// They do.
    #[default]
    Row,
    /// They do not, as in TRL before 0.24, which the original ran: every row is rendered in the template's default mode.
    Ignore,
}

/// What becomes of a pair with an answer that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TooLongPair {
    /// It is left out, and counted.
    #[default]
    Drop,
    /// The answer loses its end.
    Truncate,
    /// The prompt, and after it the answer, loses its beginning: TRL's `keep_end`.
    KeepEnd,
    /// It ends the work.
    Error,
}

impl fmt::Display for PreferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApoZero => "apo-zero",
            Self::ApoDown => "apo-down",
            Self::Sigmoid => "sigmoid",
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cached => "log-probabilities computed once before training",
            Self::Online => "a second model in memory",
        })
    }
}

impl fmt::Display for TooLongPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Truncate => "truncate",
            Self::KeepEnd => "keep-end",
            Self::Error => "error",
        })
    }
}

/// What is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    sequence_length: ContextLength,
    global_batch: Pairs,
    row_length: Option<ContextLength>,
    epochs: Option<f64>,
    until: Option<Span>,
    #[serde(default)]
    loss: PreferenceLoss,
    #[serde(default)]
    reference: Reference,
    template: Option<TemplateChoice>,
    date: Option<String>,
    #[serde(default)]
    template_drops: TemplateDrops,
    #[serde(default)]
    special_tokens: SpecialTokens,
    #[serde(default)]
    template_kwargs: TemplateKwargs,
    #[serde(default)]
    extra_eos: bool,
    prompt_limit: Option<ContextLength>,
    #[serde(default)]
    too_long: TooLongPair,
    #[serde(default)]
    data: Vec<Conversations>,
    optimizer: TunedOptimizer,
    schedule: ScheduleSettings,
    #[serde(default)]
    recompute: Recompute,
    #[serde(default)]
    checkpoint: Checkpoints,
    #[serde(default)]
    guards: Guards,
    lora: Option<Lora>,
    validation: Option<Validation>,
}

impl Written {
    pub(crate) fn checked(self, reference_from: Option<Start>) -> Result<Preference, Problem> {
        let both = ContextLength(self.sequence_length.0.saturating_mul(2));
        let mut stage = Preference {
            sequence_length: self.sequence_length,
            global_batch: self.global_batch,
            row_length: self.row_length.unwrap_or(both),
            duration: Duration::of(self.epochs, self.until)?,
            loss: self.loss,
            reference: self.reference,
            reference_from,
            template: self.template.unwrap_or(TemplateChoice::Checkpoint),
            date: self.date,
            template_drops: self.template_drops,
            special_tokens: self.special_tokens,
            template_kwargs: self.template_kwargs,
            extra_eos: self.extra_eos,
            prompt_limit: self.prompt_limit,
            too_long: self.too_long,
            data: self.data,
            optimizer: self.optimizer.into(),
            schedule: self.schedule,
            recompute: self.recompute,
            checkpoint: self.checkpoint,
            guards: self.guards,
            lora: self.lora,
            validation: self.validation,
        };
        stage.check()?;
        stage.data.iter_mut().for_each(Conversations::with_one_name);
        Ok(stage)
    }
}

impl PreferenceLoss {
    fn check(&self) -> Result<(), Problem> {
        if !(self.beta.is_finite() && self.beta > 0.0) {
            let message = format!(
                "{} holds the model to nothing; write a positive number such as 0.05",
                self.beta
            );
            return Err(Problem::at("beta", message));
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            let message = format!(
                "{} of the pairs cannot be the wrong way round; write 0 or a part below 0.5",
                self.label_smoothing
            );
            return Err(Problem::at("label_smoothing", message));
        }
        if !(self.sft_weight.is_finite() && self.sft_weight >= 0.0) {
            let message = format!("{} is no weight; write 0 or a positive number", self.sft_weight);
            return Err(Problem::at("sft_weight", message));
        }
        Ok(())
    }
}

impl Preference {
    /// How rows become text.
    pub fn chat_text(&self) -> ChatText<'_> {
        ChatText {
            template: &self.template,
            date: self.date.as_deref(),
            template_drops: self.template_drops,
            special_tokens: self.special_tokens,
        }
    }

    /// The training of a stage of this name once it is known how many pairs there are and how many tokens they have.
    pub fn training(&self, name: &str, pairs: u64, tokens: u64) -> Training {
        let steps = match self.duration {
            Duration::Epochs(epochs) => {
                (epochs * pairs as f64 / self.global_batch.0.max(1) as f64).round() as u64
            }
            // In tokens is refused when the recipe is read.
            Duration::Until(until) => until.steps(1, 0),
        };
        self.training_of(name, steps.max(1), tokens.div_ceil(pairs.max(1)))
    }

    fn training_of(&self, name: &str, steps: u64, tokens_of_a_pair: u64) -> Training {
        Training {
            sequence_length: ContextLength(tokens_of_a_pair.max(1)),
            global_batch: BatchSize::Sequences(Sequences(self.global_batch.0)),
            micro_batch: Sequences(1),
            optimizer_state: OptimizerState::Fresh,
            recompute: self.recompute,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            phases: vec![Phase {
                name: name.to_owned(),
                until: Span::Steps(Steps(steps)),
                mixture: Mixture::default(),
            }],
            checkpoint: self.checkpoint.clone(),
            loss: Loss::default(),
            guards: self.guards.clone(),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        if self.global_batch.0 == 0 {
            let message = "a step cannot have 0 pairs; write \"32 pairs\"";
            return Err(Problem::at("global_batch", message.to_owned()));
        }
        if self.global_batch.0 > MOST_ROWS {
            let message = format!(
                "a step of {} pairs is too large to be listed; write at most \"{MOST_ROWS} pairs\"",
                self.global_batch.0
            );
            return Err(Problem::at("global_batch", message));
        }
        let length = self.sequence_length.0;
        if length < 2 {
            let message = "a prompt with an answer has 2 tokens at least; write a length such as \"24k\"";
            return Err(Problem::at("sequence_length", message.to_owned()));
        }
        if self.row_length.0 < length.saturating_mul(2) {
            let message = format!(
                "both answers of a pair stand in one row; write 2 × sequence_length = {} or more",
                length.saturating_mul(2)
            );
            return Err(Problem::at("row_length", message));
        }
        if let Some(limit) = self
            .prompt_limit
            .filter(|limit| limit.0 == 0 || limit.0 >= length)
        {
            let message = format!("{limit} is not below sequence_length, or nothing; write 512 or the like");
            return Err(Problem::at("prompt_limit", message));
        }
        let steps = match self.duration {
            Duration::Until(Span::Steps(Steps(steps))) if steps > 0 => steps,
            Duration::Until(_) => {
                let message = "pairs are of all lengths; write \"200 steps\", or epochs = 1";
                return Err(Problem::at("until", message.to_owned()));
            }
            // Not known yet; what is wrong with the schedule is wrong with any number of steps.
            Duration::Epochs(_) => 1 << 32,
        };
        self.training_of("", steps, 1)
            .check_settings()
            .map_err(
                |problem| match problem.path.below(&KeyPath::default().key("phase")) {
                    Some(_) => Problem::at("until", problem.message),
                    None => problem,
                },
            )?;
        self.loss
            .check()
            .map_err(|problem| problem.under(KeyPath::default().key("loss")))?;
        if let Some(lora) = &self.lora {
            lora.check()
                .map_err(|problem| problem.under(KeyPath::default().key("lora")))?;
        }
        check_date(self.date.as_deref())?;
        if let Some(validation) = &self.validation {
            validation
                .check(&self.data)
                .map_err(|problem| problem.under(KeyPath::default().key("validation")))?;
        }
        check_data(&self.data, RowsOf::Pairs)
    }
}
