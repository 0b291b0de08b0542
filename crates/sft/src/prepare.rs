//! Conversations tokenised before a run.

use smollm3_conversations::{ConversationStore, Earlier, Result};
use smollm3_recipe::{PreparedData, Recipe, Stage};

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
    let packing = fine_tuning.packing(stage.optimisation()?);
    Ok(Some(PreparedData {
        rows: PackedRows::new(store, &packing, recipe.run.seed)?.len(),
        tokens: earlier.total(|report| report.tokens),
    }))
}
