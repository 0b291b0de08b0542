//! `[[stage]]`: one after the other, each an optimisation with its own schedule.
//!
//! A stage has a kind. The kinds that there are share [`Training`]; a new kind is a variant of [`StageKind`], its
//! struct, and one arm in [`Stage::read`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::conversations::{Conversations, check_passages};
use crate::error::RecipeError;
use crate::fine_tuning::{self, FineTuning};
use crate::lora::Lora;
use crate::merging::Merging;
use crate::preference::{self, Preference};
use crate::section::{Section, unknown};
use crate::source::Source;
use crate::start::Start;
use crate::training::{Checkpoints, OptimizerState, Recompute, Training};
use crate::units::ContextLength;
use crate::validation::Validation;

/// One stage of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Its name, also that of its folder.
    pub name: String,
    /// The weights that it starts from.
    pub from: Start,
    /// What it does.
    #[serde(flatten)]
    pub kind: StageKind,
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StageKind {
    /// Next-token training on a mixture that changes from phase to phase.
    Pretrain(Training),
    /// The same on longer rows, with another RoPE theta.
    LongContext(LongContext),
    /// Training on conversations, as a rule on all of their tokens.
    MidTrain(FineTuning),
    /// Training on conversations, as a rule on the answers.
    Sft(FineTuning),
    /// Training on pairs of answers, of which one is preferred.
    Apo(Preference),
    /// The weighted mean of checkpoints.
    Merge(Merging),
}

/// The longer rows of a `long-context` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LongContext {
    /// The base of the rotary frequencies from this stage on.
    pub rope_theta: f64,
    /// The training itself.
    #[serde(flatten)]
    pub training: Training,
}

const KINDS: [&str; 6] = ["pretrain", "long-context", "mid-train", "sft", "apo", "merge"];

impl Stage {
    /// Reads a stage; `earlier` are the names of the stages before it.
    pub(crate) fn read(
        section: &mut Section<'_>,
        earlier: &[String],
        default_start: &Start,
        sources: &BTreeMap<String, Source>,
    ) -> Result<Self, RecipeError> {
        let name: String = section.required("name", "a name for the stage, such as name = \"pretrain\"")?;
        if !is_folder_name(&name) {
            let message =
                "a stage's name is also that of its folder; write letters, digits, `-`, `_` and `.`";
            return Err(section.error("name", message.to_owned()));
        }
        if earlier.contains(&name) {
            return Err(section.error(
                "name",
                format!("an earlier stage is called `{name}` as well; rename one"),
            ));
        }
        let from = match section.optional::<String>("from")? {
            None => default_start.clone(),
            Some(text) => Start::parse(&text, earlier).map_err(|message| section.error("from", message))?,
        };
        let kind: String = section.required("kind", "what the stage does, such as kind = \"pretrain\"")?;
        let kind = match kind.as_str() {
            "pretrain" => StageKind::Pretrain(Self::read_training(section, sources)?),
            "long-context" => {
                let rope_theta =
                    section.required("rope_theta", "the new base, such as rope_theta = 1.5e6")?;
                if !(f64::is_finite(rope_theta) && rope_theta > 0.0) {
                    let message = format!("{rope_theta} is no base of frequencies; write a positive number");
                    return Err(section.error("rope_theta", message));
                }
                StageKind::LongContext(LongContext {
                    rope_theta,
                    training: Self::read_training(section, sources)?,
                })
            }
            "mid-train" => StageKind::MidTrain(Self::read_fine_tuning(section, &fine_tuning::MID_TRAIN)?),
            "sft" => StageKind::Sft(Self::read_fine_tuning(section, &fine_tuning::SFT)?),
            "apo" => {
                let reference = section.optional::<String>("reference_from")?.map(|text| {
                    Start::parse(&text, earlier).map_err(|message| section.error("reference_from", message))
                });
                let reference = reference.transpose()?;
                let written: preference::Written = section.rest()?;
                StageKind::Apo(
                    written
                        .checked(reference)
                        .map_err(|problem| section.problem(problem))?,
                )
            }
            "merge" => StageKind::Merge(Merging::read(section, earlier)?),
            other => return Err(section.error("kind", unknown("kind of stage", other, &KINDS))),
        };
        let stage = Self { name, from, kind };
        check_passages(stage.rows(), sources).map_err(|problem| section.problem(problem))?;
        if stage.from == Start::Random {
            let needs = match &stage.kind {
                StageKind::LongContext(_) => Some("a longer context is taught to a trained model"),
                StageKind::Pretrain(training) if training.optimizer_state == OptimizerState::Keep => {
                    Some("optimizer_state = \"keep\" needs a checkpoint")
                }
                StageKind::MidTrain(_) | StageKind::Sft(_) => {
                    Some("conversations are taught to a trained model")
                }
                StageKind::Apo(_) => Some("preferences are taught to a trained model"),
                StageKind::Merge(_) => Some("one of the models gives tokenizer and template"),
                StageKind::Pretrain(_) => None,
            };
            if let Some(reason) = needs {
                let message =
                    format!("{reason}, but the stage has no `from`; write from = \"pretrain\" or the like");
                return Err(section.error("", message));
            }
        }
        Ok(stage)
    }

    fn read_training(
        section: &mut Section<'_>,
        sources: &BTreeMap<String, Source>,
    ) -> Result<Training, RecipeError> {
        let mut training: Training = section.rest()?;
        training
            .check(sources)
            .map_err(|problem| section.problem(problem))?;
        Ok(training)
    }

    fn read_fine_tuning(
        section: &mut Section<'_>,
        defaults: &fine_tuning::Defaults,
    ) -> Result<FineTuning, RecipeError> {
        let written: fine_tuning::Written = section.rest()?;
        written
            .checked(defaults)
            .map_err(|problem| section.problem(problem))
    }

    /// The earlier stages whose checkpoints it reads.
    pub fn parents(&self) -> Vec<&str> {
        let others: Vec<&Start> = match &self.kind {
            StageKind::Apo(preference) => preference.reference_from.iter().collect(),
            StageKind::Merge(merging) => merging.models.iter().map(|model| &model.checkpoint).collect(),
            _ => Vec::new(),
        };
        let all = [&self.from].into_iter().chain(others);
        all.filter_map(|start| match start {
            Start::Stage(name) => Some(name.as_str()),
            Start::Random | Start::Folder(_) | Start::Hub(_) => None,
        })
        .collect()
    }

    /// Its optimisation over token rows, if it is one.
    pub fn training(&self) -> Option<&Training> {
        match &self.kind {
            StageKind::Pretrain(training) => Some(training),
            StageKind::LongContext(long_context) => Some(&long_context.training),
            _ => None,
        }
    }

    /// Its optimisation over conversations, if it is one.
    pub fn fine_tuning(&self) -> Option<&FineTuning> {
        match &self.kind {
            StageKind::MidTrain(fine_tuning) | StageKind::Sft(fine_tuning) => Some(fine_tuning),
            _ => None,
        }
    }

    /// Its optimisation over pairs of answers, if it is one.
    pub fn preference(&self) -> Option<&Preference> {
        match &self.kind {
            StageKind::Apo(preference) => Some(preference),
            _ => None,
        }
    }

    /// The adapters that it trains in the place of the weights, if it does.
    pub fn lora(&self) -> Option<&Lora> {
        match &self.kind {
            StageKind::MidTrain(fine_tuning) | StageKind::Sft(fine_tuning) => fine_tuning.lora.as_ref(),
            StageKind::Apo(preference) => preference.lora.as_ref(),
            _ => None,
        }
    }

    /// What it is measured on meanwhile, where it says so.
    pub fn validation(&self) -> Option<&Validation> {
        match &self.kind {
            StageKind::MidTrain(fine_tuning) | StageKind::Sft(fine_tuning) => fine_tuning.validation.as_ref(),
            StageKind::Apo(preference) => preference.validation.as_ref(),
            _ => None,
        }
    }

    /// Whether what it makes is talked to.
    pub fn is_conversational(&self) -> bool {
        !matches!(self.kind, StageKind::Pretrain(_) | StageKind::LongContext(_))
    }

    /// The rows of conversations or pairs that it reads.
    pub fn rows(&self) -> &[Conversations] {
        match &self.kind {
            StageKind::MidTrain(fine_tuning) | StageKind::Sft(fine_tuning) => &fine_tuning.data,
            StageKind::Apo(preference) => &preference.data,
            StageKind::Pretrain(_) | StageKind::LongContext(_) | StageKind::Merge(_) => &[],
        }
    }

    /// Tokens of its rows, if it trains.
    pub fn sequence_length(&self) -> Option<ContextLength> {
        match &self.kind {
            StageKind::Pretrain(training) => Some(training.sequence_length),
            StageKind::LongContext(long_context) => Some(long_context.training.sequence_length),
            StageKind::MidTrain(fine_tuning) | StageKind::Sft(fine_tuning) => {
                Some(fine_tuning.sequence_length)
            }
            StageKind::Apo(preference) => Some(preference.sequence_length),
            StageKind::Merge(_) => None,
        }
    }

    /// What it computes again in the backward pass instead of keeping it.
    pub fn recompute(&self) -> Recompute {
        match &self.kind {
            StageKind::Pretrain(training) => training.recompute,
            StageKind::LongContext(long_context) => long_context.training.recompute,
            StageKind::MidTrain(fine_tuning) | StageKind::Sft(fine_tuning) => fine_tuning.recompute,
            StageKind::Apo(preference) => preference.recompute,
            StageKind::Merge(_) => Recompute::None,
        }
    }

    /// Which checkpoints it writes and keeps, if it trains.
    pub fn checkpoints(&self) -> Option<&Checkpoints> {
        match &self.kind {
            StageKind::Pretrain(training) => Some(&training.checkpoint),
            StageKind::LongContext(long_context) => Some(&long_context.training.checkpoint),
            StageKind::MidTrain(fine_tuning) | StageKind::Sft(fine_tuning) => Some(&fine_tuning.checkpoint),
            StageKind::Apo(preference) => Some(&preference.checkpoint),
            StageKind::Merge(_) => None,
        }
    }

    /// Its optimisation, of whichever kind, as far as it is known before any data are.
    pub fn planned(&self) -> Option<Cow<'_, Training>> {
        let fine_tuned = || self.fine_tuning()?.planned(&self.name).map(Cow::Owned);
        self.training().map(Cow::Borrowed).or_else(fine_tuned)
    }

    /// The word that a recipe has for its kind.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            StageKind::Pretrain(_) => "pretrain",
            StageKind::LongContext(_) => "long-context",
            StageKind::MidTrain(_) => "mid-train",
            StageKind::Sft(_) => "sft",
            StageKind::Apo(_) => "apo",
            StageKind::Merge(_) => "merge",
        }
    }

    pub(crate) fn training_mut(&mut self) -> Option<&mut Training> {
        match &mut self.kind {
            StageKind::Pretrain(training) => Some(training),
            StageKind::LongContext(long_context) => Some(&mut long_context.training),
            _ => None,
        }
    }
}

fn is_folder_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}
