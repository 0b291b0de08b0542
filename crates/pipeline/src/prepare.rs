//! The data of a run, prepared ahead of it.

use smollm3_apo::PairEncoder;
use smollm3_conversations::{ChatSetup, ConversationEncoder, Prepared, RowEncoder};
use smollm3_recipe::{PreparedData, Recipe, Stage, StageData};
use smollm3_records::{Event, Listener};

use crate::error::Result;

/// Tokenizer, token stores, conversations and pairs, in the output folder of `recipe`, but for data that need a checkpoint which
/// the run has yet to make.
///
/// # Errors
/// The data are not available, the folder belongs to another recipe, or the listener ends the work.
pub fn prepare(recipe: &mut Recipe, listener: &mut dyn Listener) -> Result<()> {
    let data = smollm3_engine::prepare(recipe, listener)?;
    let (recipe, tokenizer) = (&*recipe, &data.tokenizer);
    for stage in &recipe.stages {
        let (tuning, pairs) = (stage.fine_tuning(), stage.preference());
        let chat = tuning
            .map(|tuning| &tuning.chat)
            .or(pairs.map(|pairs| &pairs.chat));
        let Some(chat) = chat else { continue };
        if ChatSetup::is_later(stage, &chat.template) {
            listener.on(&Event::Note(format!(
                "{}: its template is that of the stage before; its rows are prepared when it runs",
                stage.name
            )))?;
            continue;
        }
        let mut prepare =
            |encoder: &dyn RowEncoder| Prepared::of(recipe, &data, stage, &chat.data, encoder, listener);
        if let Some(tuning) = tuning {
            prepare(&ConversationEncoder::of(recipe, tokenizer, stage, tuning)?)?;
        }
        if let Some(pairs) = pairs {
            prepare(&PairEncoder::of(recipe, tokenizer, stage, pairs)?)?;
        }
    }
    Ok(())
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
