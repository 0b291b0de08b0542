//! The data of a run, prepared ahead of it.

use smollm3_apo::prepare_pairs;
use smollm3_recipe::{PreparedData, Recipe, Stage, StageData};
use smollm3_records::Listener;
use smollm3_sft::prepare_conversations;

use crate::error::Result;

/// Tokenizer, token stores, conversations and pairs, in the output folder of `recipe`. What needs a checkpoint that a run has
/// yet to make is left to the run.
///
/// # Errors
/// The data cannot be had, the folder belongs to another recipe, or the listener ends the work.
pub fn prepare(recipe: &mut Recipe, listener: &mut dyn Listener) -> Result<()> {
    let data = smollm3_engine::prepare(recipe, listener)?;
    prepare_conversations(recipe, &data, listener)?;
    Ok(prepare_pairs(recipe, &data, listener)?)
}

/// How much data an earlier run or [`prepare`] left for a stage on conversations or pairs; `None` if nothing, or for another
/// kind of stage.
///
/// # Errors
/// The data are damaged.
pub(crate) fn prepared_data(recipe: &Recipe, stage: &Stage) -> Result<Option<PreparedData>> {
    Ok(match &stage.data {
        StageData::MidTrain(_) | StageData::Sft(_) => smollm3_sft::prepared_data(recipe, stage)?,
        StageData::Apo(_) => smollm3_apo::prepared_data(recipe, stage),
        StageData::Pretrain(_) | StageData::LongContext(_) | StageData::Merge(_) => None,
    })
}
