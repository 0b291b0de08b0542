//! A recipe in steps, tokens and phases, computed without a device and without data.
//!
//! [`Recipe::plan`] walks the stages in order and tracks what each passes on: tokens trained, RoPE theta, context. What is
//! known of the data (sizes of stores, tokenizers) is passed in as [`Facts`], and is then checked too.
//! `smollm3-estimate` adds what a run costs.

mod build;
mod checks;

use std::collections::BTreeMap;

use serde::Serialize;

use smollm3_packing::{Packing, TooLong};

use crate::error::RecipeError;
use crate::fine_tuning::Learned;
use crate::model_config::ModelConfig;
use crate::preference::{PreferenceLoss, Reference, TooLongPair};
use crate::recipe::Recipe;
use crate::stage::Stage;
use crate::training::{PreparedData, Training};
use crate::validation::Validation;

/// A recipe that cannot be run as it is.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A setting does not fit the others.
    #[error("`{key}`: {message}")]
    Refused {
        /// The dotted key to change.
        key: String,
        /// What does not fit and what to write instead.
        message: String,
    },
    /// The architecture is not known.
    #[error(transparent)]
    Architecture(#[from] RecipeError),
}

impl PlanError {
    fn refuse(key: impl Into<String>, message: String) -> Self {
        Self::Refused {
            key: key.into(),
            message,
        }
    }
}

/// What is known beyond the recipe. Everything is optional; what is given is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The architecture of a fetched checkpoint; else that of [`Recipe::architecture`].
    pub architecture: Option<ModelConfig>,
    /// Tokens for training in the store of a source, by the source's name.
    pub stores: BTreeMap<String, u64>,
    /// The recipe's tokenizer.
    pub tokenizer: Option<TokenizerFacts>,
    /// The tokenizers of the checkpoints that stages start from, by the stage's name.
    pub checkpoint_tokenizers: BTreeMap<String, TokenizerFacts>,
    /// The prepared data of stages on conversations and on pairs, by the stage's name.
    pub prepared: BTreeMap<String, PreparedData>,
}

/// The properties that a tokenizer and a model must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerFacts {
    /// Entries, special tokens included.
    pub vocab_size: u64,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The token that ends a document.
    pub eos_token_id: Option<u32>,
    /// The token that ends a turn of a conversation.
    pub end_of_turn: Option<u32>,
}

/// The whole run in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The run's name.
    pub name: String,
    /// The recipe's fingerprint.
    pub fingerprint: String,
    /// Numbers in the model, a tied head counted once.
    pub parameters: u64,
    /// Tokens of all stages.
    pub total_tokens: u64,
    /// The stages in order, without those whose steps depend on data that are not prepared.
    pub stages: Vec<StagePlan>,
    /// The stages on conversations and on pairs.
    pub conversations: Vec<ConversationPlan>,
    /// The merges.
    pub merges: Vec<MergePlan>,
}

/// One merge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MergePlan {
    /// The stage's name.
    pub name: String,
    /// The checkpoint that gives tokenizer and template, in words.
    pub from: String,
    /// The checkpoints in words, and the weight of each.
    pub models: Vec<(String, f64)>,
}

/// The data of a stage on conversations or on pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConversationPlan {
    /// Its name.
    pub name: String,
    /// `mid-train`, `sft` or `apo`.
    pub kind: String,
    /// The weights that it starts from, in words.
    pub from: String,
    /// Tokens of a row.
    pub sequence_length: u64,
    /// The batch of a step.
    pub global_batch: String,
    /// Its length, in words.
    pub duration: String,
    /// The template.
    pub template: String,
    /// How they become rows.
    #[serde(flatten)]
    pub rows: RowsPlan,
    /// The data sets.
    pub data: Vec<DataPlan>,
    /// What it is measured on during training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// The adapters that it trains instead of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<AdaptersPlan>,
    /// How the steps become known, if they are not.
    #[serde(skip)]
    pub pending: Option<String>,
}

/// A data set, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataPlan {
    /// Its name.
    pub name: String,
    /// The fraction of its rows.
    pub fraction: f64,
    /// Instead of a fraction, a number of rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// Adapters in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdaptersPlan {
    /// Their rank.
    pub rank: usize,
    /// Their scale is `alpha / rank`.
    pub alpha: f64,
    /// The matrices of each layer that have one.
    pub targets: Vec<String>,
    /// Numbers that are trained.
    pub parameters: u64,
}

/// How the data of a stage become rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RowsPlan {
    /// Conversations share rows.
    Packed {
        /// The tokens that the loss is computed on.
        learned: Learned,
        /// How they share rows.
        packing: Packing,
        /// How conversations longer than a row are treated.
        too_long: TooLong,
    },
    /// Pairs of answers are compared.
    Pairs {
        /// The loss.
        loss: PreferenceLoss,
        /// Where the reference's log-probabilities come from.
        reference: Reference,
        /// How pairs that are too long are treated.
        too_long: TooLongPair,
    },
}

/// One stage in numbers. Steps count from 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StagePlan {
    /// Its name.
    pub name: String,
    /// `pretrain`, `long-context`, or one on conversations or pairs, which has a phase without sources.
    pub kind: String,
    /// The weights that it starts from, in words.
    pub from: String,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens of the stage.
    pub tokens: u64,
    /// Tokens of the stages before it in the recipe.
    pub tokens_before: u64,
    /// Tokens of a row; of pairs, which are their own rows here, the mean.
    pub sequence_length: u64,
    /// Rows of a step, or pairs.
    pub sequences_per_step: u64,
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Rows that a device computes at once.
    pub micro_batch: u64,
    /// Micro-batches of a device in one step.
    pub accumulation: u64,
    /// The base of the rotary frequencies.
    pub rope_theta: f64,
    /// The longest row that the model is meant for after the stage.
    pub context: u64,
    /// The learning rate where it turns.
    pub learning_rate: Vec<Landmark>,
    /// The devices of the stage, each one rank.
    pub devices: u64,
    /// Its phases in order.
    pub phases: Vec<PhasePlan>,
}

/// The learning rate at a turning point of the schedule or the mixture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Landmark {
    /// What happens at the step.
    pub name: String,
    /// The step.
    pub step: u64,
    /// Its rate.
    pub learning_rate: f64,
}

/// One phase in numbers. Steps and tokens count from the beginning of the stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhasePlan {
    /// Its name.
    pub name: String,
    /// The end, as the recipe asks for it.
    pub until: String,
    /// Its first step.
    pub start_step: u64,
    /// Its last step.
    pub end_step: u64,
    /// Tokens of the stage before it.
    pub start_token: u64,
    /// Tokens of the stage up to its end.
    pub end_token: u64,
    /// The share of each category, as asked.
    pub shares_asked: BTreeMap<String, f64>,
    /// The share of each category, as whole sequences give it.
    pub shares: BTreeMap<String, f64>,
    /// Its sources, in the order of data.
    pub sources: Vec<SourcePlan>,
}

/// One source in one phase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its category.
    pub category: String,
    /// The id of the public dataset that it reads or was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Its fraction of the phase; the weights of a phase add up to 1.
    pub weight: f64,
    /// Sequences of the phase.
    pub sequences: u64,
    /// Tokens of the phase.
    pub tokens: u64,
    /// Passes over the source in the phase, if its store is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
}

impl Recipe {
    /// The run in numbers, if it can be run.
    ///
    /// # Errors
    /// The first setting that does not fit the others or the facts, with the key to change.
    pub fn plan(&self, facts: &Facts) -> Result<Plan, PlanError> {
        build::plan(self, facts)
    }

    /// Checks that `ranks` ranks can share the rows of each step.
    ///
    /// # Errors
    /// The first stage where they cannot, with the key to change.
    pub fn check_ranks(&self, ranks: u64) -> Result<(), PlanError> {
        for stage in &self.stages {
            if let Ok(training) = stage.training_on(PreparedData::default()) {
                stage.micro_batches(&training, ranks)?;
            }
        }
        Ok(())
    }
}

impl Facts {
    /// The architecture of the model.
    ///
    /// # Errors
    /// As [`Recipe::architecture`].
    pub fn architecture_of(&self, recipe: &Recipe) -> Result<ModelConfig, RecipeError> {
        self.architecture
            .clone()
            .map_or_else(|| recipe.architecture(), Ok)
    }

    /// The training of a stage whose steps are known, from the recipe or from the data.
    pub fn planned(&self, stage: &Stage) -> Option<Training> {
        match self.prepared.get(&stage.name) {
            Some(data) => stage.training_on(*data).ok(),
            None => stage.planned(),
        }
    }

    /// The training of a stage, of one step where its steps are not known.
    pub fn trained(&self, stage: &Stage) -> Option<Training> {
        let of_one_step = || stage.training_on(PreparedData::default()).ok();
        self.planned(stage).or_else(of_one_step)
    }
}
