//! `apo`: training on pairs of answers, one of which is preferred. Anchored preference optimisation (D'Oosterlinck and
//! others 2024, arXiv:2408.06266), and direct preference optimisation (Rafailov and others 2023, arXiv:2305.18290) for
//! comparison.
//!
//! The number of pairs and their lengths are known once they are tokenised. A row of such a stage's
//! [`Training`](crate::Training) is an average pair.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chat_rows::{ChatRows, Duration, TemplateChoice};
use crate::conversations::Reads;
use crate::error::{Problem, RecipeError, ensure};
use crate::optimisation::Optimisation;
use crate::section::Section;
use crate::start::Start;
use crate::units::{ContextLength, Span, Steps};

/// What a stage on pairs of answers reads, and what it minimises.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Preference {
    /// The pairs, and the length of the stage.
    #[serde(flatten)]
    pub chat: ChatRows,
    /// Tokens that a device computes at once: pairs share rows of this length, by default twice `sequence_length`.
    #[schemars(with = "Option<ContextLength>")]
    pub row_length: ContextLength,
    /// The loss.
    #[schemars(default)]
    pub loss: PreferenceLoss,
    /// Where the reference's log-probabilities come from.
    #[schemars(default)]
    pub reference: Reference,
    /// The reference, if it is not the checkpoint that the stage starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_from: Option<Start>,
    /// Whether a row's `chat_template_kwargs` reach the template.
    #[schemars(default)]
    pub template_kwargs: TemplateKwargs,
    /// Whether a second end of turn follows each answer.
    #[schemars(default)]
    pub extra_eos: bool,
    /// The number of tokens of a prompt that are kept, from its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_limit: Option<ContextLength>,
    /// How pairs are treated whose prompt with an answer is longer than `sequence_length`.
    #[schemars(default)]
    pub too_long: TooLongPair,
}

/// `[stage.loss]` of an `apo` stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreferenceLoss {
    /// The formula.
    pub kind: PreferenceKind,
    /// How strongly the model is held to the reference: the factor of the log-ratios.
    pub beta: f64,
    /// The fraction of the pairs assumed to be the wrong way round.
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

/// The formula of a preference loss, where `c` and `r` are beta times the log-ratios of the chosen and the rejected answer
/// to the reference, and σ is the logistic function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// Computed once before training: only one model is in memory.
    #[default]
    Cached,
    /// Computed in each step by a second model in memory.
    Online,
}

/// Whether a row's `chat_template_kwargs` reach the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TemplateKwargs {
    /// They do.
    #[default]
    Row,
    /// They do not, as in TRL before 0.24, which the original used: every row is rendered in the template's default mode.
    Ignore,
}

/// How pairs that are too long are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TooLongPair {
    /// They are left out, and counted.
    #[default]
    Drop,
    /// The answer loses its end.
    Truncate,
    /// The prompt loses its beginning, then the answer does: TRL's `keep_end`.
    KeepEnd,
    /// They are an error.
    Error,
}

/// As in recipes.
impl fmt::Display for PreferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
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

/// As in recipes.
impl fmt::Display for TooLongPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl PreferenceLoss {
    fn check(&self) -> Result<(), Problem> {
        let (beta, smoothing, weight) = (self.beta, self.label_smoothing, self.sft_weight);
        ensure!(
            beta.is_finite() && beta > 0.0,
            "beta",
            "{beta} does not hold the model to the reference; write a positive number such as 0.05"
        );
        ensure!(
            (0.0..0.5).contains(&smoothing),
            "label_smoothing",
            "{smoothing} of the pairs cannot be the wrong way round; write 0 or a fraction below 0.5"
        );
        let is_weight = weight.is_finite() && weight >= 0.0;
        ensure!(
            is_weight,
            "sft_weight",
            "{weight} is not a weight; write 0 or a positive number"
        );
        Ok(())
    }
}

impl Preference {
    /// Takes all that is left of a stage's table; `earlier` are the names of the stages before it.
    pub(crate) fn read(
        stage: &mut Section<'_>,
        earlier: &[String],
        sequence_length: ContextLength,
    ) -> Result<Self, RecipeError> {
        let both = ContextLength(sequence_length.0.saturating_mul(2));
        let reference_from = stage.optional::<String>("reference_from")?;
        let reference_from = reference_from
            .map(|text| Start::parse(&text, earlier))
            .transpose();
        let reference_from = reference_from.map_err(|message| stage.error("reference_from", message))?;
        Ok(Self {
            row_length: stage.optional("row_length")?.unwrap_or(both),
            loss: stage.or_default("loss")?,
            reference: stage.or_default("reference")?,
            reference_from,
            template_kwargs: stage.or_default("template_kwargs")?,
            extra_eos: stage.or_default("extra_eos")?,
            prompt_limit: stage.optional("prompt_limit")?,
            too_long: stage.or_default("too_long")?,
            chat: ChatRows::read(stage, TemplateChoice::Checkpoint)?,
        })
    }

    pub(crate) fn check(&mut self, optimisation: &Optimisation) -> Result<(), Problem> {
        let length = optimisation.sequence_length.0;
        ensure!(
            length >= 2,
            "sequence_length",
            "a prompt with an answer has at least 2 tokens; write a length such as \"24k\""
        );
        let both = length.saturating_mul(2);
        ensure!(
            self.row_length.0 >= both,
            "row_length",
            "a row holds both answers of a pair; write 2 × sequence_length = {both} or more"
        );
        if let Some(limit) = self.prompt_limit {
            ensure!(
                (1..length).contains(&limit.0),
                "prompt_limit",
                "{limit} is 0, or is not below sequence_length; write a number such as 512"
            );
        }
        let steps = match self.chat.duration {
            Duration::Until(Span::Steps(Steps(steps))) if steps > 0 => steps,
            Duration::Until(_) => {
                let message = "the lengths of pairs differ; write \"200 steps\", or epochs = 1";
                return Err(Problem::at("until", message));
            }
            // Not known yet; a schedule that is wrong for this many steps is wrong for any number.
            Duration::Epochs(_) => 1 << 32,
        };
        self.loss.check().map_err(|problem| problem.below("loss"))?;
        // The mean length of the pairs is not known yet.
        let short = Optimisation {
            sequence_length: ContextLength(1),
            ..optimisation.clone()
        };
        self.chat.check(Reads::Pairs, &short, "until", steps)
    }
}
