//! Conversations tokenised before a run.

use smollm3_conversations::{ChatSetup, ConversationEncoder, ConversationStore, Earlier, Prepared, Result};
use smollm3_recipe::{PreparedData, Recipe, Stage};
use smollm3_records::{Event, Listener};
use smollm3_sources::Data;

use crate::packed_rows::PackedRows;

/// The packed rows of a stage that an earlier run or preparation left in the folder of `recipe`'s run. No row of the data is
/// read: the stage itself notices a file that has changed since.
///
/// # Errors
/// They are damaged, or as [`PackedRows::new`].
pub fn prepared_data(recipe: &Recipe, stage: &Stage) -> Result<Option<PreparedData>> {
    let (Some(fine_tuning), Some(earlier)) = (stage.fine_tuning(), Earlier::of(recipe, stage)) else {
        return Ok(None);
    };
    let store = ConversationStore::open(&earlier.train)?;
    let rows = PackedRows::new(
        store,
        &fine_tuning.packing(stage.optimisation()?),
        recipe.run.seed,
    )?
    .len();
    Ok(Some(PreparedData {
        rows,
        tokens: earlier.total(|report| report.tokens),
    }))
}

/// Tokenises the conversations of all stages whose template does not come from a checkpoint that a run has yet to make.
///
/// # Errors
/// As [`Prepared::of`].
pub fn prepare_conversations(recipe: &Recipe, data: &Data, listener: &mut dyn Listener) -> Result<()> {
    for stage in &recipe.stages {
        let Some(fine_tuning) = stage.fine_tuning() else {
            continue;
        };
        if ChatSetup::is_later(stage, &fine_tuning.chat.template) {
            listener.on(&Event::Note(format!(
                "{}: its template is that of the stage before; its conversations are prepared when it runs",
                stage.name
            )))?;
            continue;
        }
        let encoder = ConversationEncoder::of(recipe, &data.tokenizer, stage, fine_tuning)?;
        Prepared::of(recipe, data, stage, &fine_tuning.chat.data, &encoder, listener)?;
    }
    Ok(())
}
