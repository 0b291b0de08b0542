//! Checks of settings that make sense alone but not together.

use std::collections::BTreeMap;

use super::{Facts, PlanError, TokenizerFacts};
use crate::model_config::ModelConfig;
use crate::recipe::Recipe;
use crate::run::Tokenizer;
use crate::stage::{LongContext, Stage, StageData};
use crate::start::Start;
use crate::training::Training;

/// What a stage passes on to those that start from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) context: u64,
}

impl Rope {
    /// YaRN stretches the length that the model was trained for.
    pub(super) fn of(config: &ModelConfig) -> Self {
        let stretched = config.rope_scaling.as_ref().map_or(0.0, |yarn| {
            yarn.factor * yarn.original_max_position_embeddings as f64
        });
        Self {
            theta: config.rope_theta,
            context: (config.max_position_embeddings as u64).max(stretched as u64),
        }
    }
}

/// The tokenizer and the model number the same tokens, in every stage.
pub(super) fn tokenizers(recipe: &Recipe, facts: &Facts, config: &ModelConfig) -> Result<(), PlanError> {
    let rows = config.vocab_size as u64;
    let too_many = |key: &str, entries: String, remedy: &str| {
        let message = format!("{entries} entries do not fit the model's embedding of {rows}; {remedy}");
        Err(PlanError::refuse(key, message))
    };
    if let Tokenizer::Train(train) = &recipe.tokenizer
        && u64::from(train.vocab_size) > rows
    {
        let remedy = "write at most that, or enlarge vocab_size of the model";
        return too_many("tokenizer.train.vocab_size", train.vocab_size.to_string(), remedy);
    }
    let Some(tokenizer) = &facts.tokenizer else {
        return Ok(());
    };
    if tokenizer.vocab_size > rows {
        let entries = format!("its {}", tokenizer.vocab_size);
        return too_many("tokenizer", entries, "take the model's own tokenizer");
    }
    let of_model = TokenizerFacts {
        vocab_size: tokenizer.vocab_size,
        bos_token_id: config.bos_token_id,
        // A model of conversations ends with its turn.
        eos_token_id: config
            .eos_token_id
            .filter(|eos| Some(*eos) != tokenizer.end_of_turn),
        end_of_turn: None,
    };
    if let Some(difference) = difference(tokenizer, &of_model) {
        let message =
            format!("{difference} in the tokenizer and in the model; set the model's ids to the tokenizer's");
        return Err(PlanError::refuse("tokenizer", message));
    }
    for (stage, other) in &facts.checkpoint_tokenizers {
        if let Some(difference) = difference(tokenizer, other) {
            let message = format!(
                "{difference} in [tokenizer] and in the checkpoint that the stage starts from; \
                 take the checkpoint's tokenizer for the whole recipe"
            );
            return Err(PlanError::refuse(format!("stage.{stage}.from"), message));
        }
    }
    Ok(())
}

/// The first disagreement of two tokenizers; an id that one of them lacks is not one.
fn difference(ours: &TokenizerFacts, theirs: &TokenizerFacts) -> Option<String> {
    if ours.vocab_size != theirs.vocab_size {
        return Some(format!(
            "the vocabulary has {} and {} entries",
            ours.vocab_size, theirs.vocab_size
        ));
    }
    [
        ("bos", ours.bos_token_id, theirs.bos_token_id),
        ("eos", ours.eos_token_id, theirs.eos_token_id),
    ]
    .into_iter()
    .find_map(|(name, ours, theirs)| match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            Some(format!("{name}_token_id is {ours} and {theirs}"))
        }
        _ => None,
    })
}

/// Rows that a store of `tokens` tokens has: each takes one token more than its length, as the last label.
pub(super) fn windows(tokens: u64, sequence_length: u64) -> u64 {
    tokens / (sequence_length + 1)
}

/// No source is gone through more often than the recipe allows, over all stages together.
pub(super) fn epochs(recipe: &Recipe, stores: &BTreeMap<String, u64>) -> Result<(), PlanError> {
    let mut used: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for stage in &recipe.stages {
        let Some(training) = stage.training() else {
            continue;
        };
        let sequence_length = training.sequence_length.0;
        for (phase, steps) in stage.phases().iter().zip(training.phase_steps()) {
            let rows = (steps.end() + 1 - steps.start()) * training.sequences_per_step();
            let parts = phase.mixture.parts().iter();
            for (part, sequences) in parts.zip(phase.mixture.apportion(rows)) {
                let Some(tokens) = stores.get(&part.source) else {
                    continue;
                };
                let windows = windows(*tokens, sequence_length);
                if windows == 0 && sequences > 0 {
                    let message = format!(
                        "its {tokens} tokens do not fill one row of {sequence_length}; add text or shorten the rows"
                    );
                    return Err(PlanError::refuse(format!("source.{}", part.source), message));
                }
                let (epochs, needed) = used.entry(&part.source).or_default();
                *epochs += sequences as f64 / windows.max(1) as f64;
                *needed = needed.saturating_add(sequences.saturating_mul(sequence_length));
            }
        }
    }
    for (name, (epochs, needed)) in used {
        let (Some(source), Some(tokens)) = (recipe.sources.get(name), stores.get(name)) else {
            continue;
        };
        let most = source.max_epochs;
        // One row in a billion is rounding.
        if epochs > f64::from(most) * (1.0 + 1e-9) {
            let message = format!(
                "the stages draw {needed} tokens from a store of {tokens}, {epochs:.2} epochs where {most} are allowed; add \
                 text, lower its weight, or allow {}",
                epochs.ceil()
            );
            return Err(PlanError::refuse(format!("source.{name}.max_epochs"), message));
        }
    }
    Ok(())
}

impl Stage {
    /// The rows that each of `devices` devices, or ranks, computes at once, and how many times in a step.
    ///
    /// # Errors
    /// The rows of a step cannot be divided, with the key to change.
    pub fn micro_batches(&self, training: &Training, devices: u64) -> Result<(u64, u64), PlanError> {
        let global = training.sequences_per_step();
        let refuse = |key: &str, message: String| {
            Err(PlanError::refuse(format!("stage.{}.{key}", self.name), message))
        };
        if !global.is_multiple_of(devices) {
            let (larger, smaller) = (global.next_multiple_of(devices), divisor_below(global, devices));
            let message = format!(
                "{global} sequences cannot be divided among {devices} devices; write \"{larger} sequences\", or take \
                 {smaller} devices"
            );
            return refuse("global_batch", message);
        }
        let of_rank = global / devices;
        let micro_batch = training.micro_batch.0.min(of_rank);
        if !of_rank.is_multiple_of(micro_batch) {
            let smaller = divisor_below(of_rank, micro_batch);
            let message = format!(
                "{micro_batch} sequences do not divide the {of_rank} that each of {devices} devices gets; write \
                 \"{smaller} sequences\""
            );
            return refuse("micro_batch", message);
        }
        Ok((micro_batch, of_rank / micro_batch))
    }
}

/// The largest divisor of `number` below `limit`, among the first million only.
fn divisor_below(number: u64, limit: u64) -> u64 {
    let most = limit.saturating_sub(1).min(number).min(1_000_000);
    (1..=most)
        .rev()
        .find(|divisor| number.is_multiple_of(*divisor))
        .unwrap_or(1)
}

/// The RoPE settings after the stage; its rows must fit them.
pub(super) fn context(
    stage: &Stage,
    length: u64,
    before: Rope,
    config: &ModelConfig,
) -> Result<Rope, PlanError> {
    let refuse =
        |key: &str, message: String| Err(PlanError::refuse(format!("stage.{}.{key}", stage.name), message));
    let (theta, context) = (before.theta, before.context);
    let StageData::LongContext(LongContext { rope_theta, .. }) = &stage.data else {
        if length <= context {
            return Ok(before);
        }
        let message = format!(
            "rows of {length} tokens are longer than the {context} that theta {theta} is set for; shorten them, \
             or write kind = \"long-context\" with a larger rope_theta"
        );
        return refuse("sequence_length", message);
    };
    if config.rope_scaling.is_some() && !matches!(stage.from, Start::Stage(_)) {
        let message =
            "the model's YaRN was set for another theta; remove rope_scaling from its configuration";
        return refuse("rope_theta", message.to_owned());
    }
    if length <= context {
        let message = format!(
            "rows of {length} tokens are within the {context} that the model has already; \
             write longer ones, or kind = \"pretrain\""
        );
        return refuse("sequence_length", message);
    }
    if *rope_theta < theta {
        let message = format!(
            "{rope_theta} is less than the {theta} of the shorter context before; a longer one needs at least as much"
        );
        return refuse("rope_theta", message);
    }
    Ok(Rope {
        theta: *rope_theta,
        context: length,
    })
}

/// The rows of a stage on pairs must fit the reference too.
pub(super) fn reference_context(stage: &Stage, length: u64, reference: Rope) -> Result<(), PlanError> {
    if length <= reference.context {
        return Ok(());
    }
    Err(PlanError::refuse(
        format!("stage.{}.reference_from", stage.name),
        format!(
            "rows of {length} tokens are longer than the {} that the reference can read; shorten them, \
             or take a reference with a longer context",
            reference.context
        ),
    ))
}
