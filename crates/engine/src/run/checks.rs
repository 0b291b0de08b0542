//! Whether a recipe, its models and its tokenizer fit together.

use std::collections::BTreeMap;

use smollm3_model::ModelConfig;
use smollm3_recipe::{Recipe, StageData, Start};
use smollm3_sources::Data;

use crate::{EngineError, Result};

/// Rows must fit the positions that RoPE is set for, which long-context stages move: those of the model that is trained,
/// and those of the one that it is compared with.
pub(super) fn check_rows(recipe: &Recipe, config: &ModelConfig) -> Result<()> {
    let mut contexts: BTreeMap<&str, u64> = BTreeMap::new();
    for stage in &recipe.stages {
        let rows = stage.sequence_length().map_or(0, |length| length.0);
        let context_of = |start: &Start| -> Result<u64> {
            let known = match start {
                Start::Stage(earlier) => contexts.get(earlier.as_str()).copied(),
                start => recipe
                    .checkpoint_architecture(start)?
                    .map(|config| config.max_position_embeddings as u64),
            };
            Ok(known.unwrap_or(config.max_position_embeddings as u64))
        };
        let most = context_of(&stage.from)?;
        if !matches!(stage.data, StageData::LongContext(_)) && rows > most {
            return Err(EngineError::Refused(format!(
                "stage \"{}\": sequence_length = {rows} is longer than the model's max_position_embeddings = {most}; \
                 shorten it, or write kind = \"long-context\" with a larger rope_theta",
                stage.name
            )));
        }
        if let Some(reference) = stage.preference().and_then(|pairs| pairs.reference_from.as_ref()) {
            let most = context_of(reference)?;
            if rows > most {
                return Err(EngineError::Refused(format!(
                    "stage \"{}\": sequence_length = {rows} is longer than the reference's max_position_embeddings = \
                     {most}; shorten it, or take a reference with a longer context",
                    stage.name
                )));
            }
        }
        contexts.insert(&stage.name, most.max(rows));
    }
    Ok(())
}

/// Checkpoints that stages start from must have a row for each entry of the tokenizer.
pub(super) fn check_vocabularies(recipe: &Recipe, data: &Data) -> Result<()> {
    let entries = data.tokenizer.info().vocab_size as usize;
    for stage in &recipe.stages {
        if let Some(config) = recipe.checkpoint_architecture(&stage.from)?
            && config.vocab_size < entries
        {
            return Err(EngineError::Refused(format!(
                "stage \"{}\": the checkpoint it starts from has vocab_size = {}, but the tokenizer has {entries} entries; \
                 take the checkpoint's own tokenizer",
                stage.name, config.vocab_size
            )));
        }
    }
    Ok(())
}

/// The architecture with the tokenizer's ids, if the two go together.
pub(super) fn with_token_ids(mut config: ModelConfig, data: &Data) -> Result<ModelConfig> {
    let info = data.tokenizer.info();
    if info.vocab_size as usize > config.vocab_size {
        return Err(EngineError::Refused(format!(
            "the tokenizer has {} entries, but the model's vocab_size is {}; raise vocab_size",
            info.vocab_size, config.vocab_size
        )));
    }
    // A model of conversations ends with its turn, not with a document.
    let ends = |id: &u32| *id == info.end_of_text || Some(*id) == info.im_end;
    if let Some(eos) = config.eos_token_id.filter(|eos| !ends(eos)) {
        return Err(EngineError::Refused(format!(
            "the model's eos_token_id is {eos}, but the tokenizer ends documents with {}; they must agree",
            info.end_of_text
        )));
    }
    config.eos_token_id = Some(info.end_of_text);
    config.bos_token_id = config.bos_token_id.or(info.begin_of_text);
    Ok(config)
}
