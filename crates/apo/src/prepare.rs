//! Pairs tokenised before a run.

use smollm3_conversations::Earlier;
use smollm3_recipe::{PreparedData, Recipe, Stage};

/// The pairs of a stage that an earlier run or preparation left in the folder of `recipe`'s run. No row of the data is read:
/// the stage itself notices a file that has changed since.
pub fn prepared_data(recipe: &Recipe, stage: &Stage) -> Option<PreparedData> {
    let earlier = Earlier::of(recipe, stage)?;
    Some(PreparedData {
        rows: earlier.total(|report| report.trained),
        tokens: earlier.total(|report| report.tokens),
    })
}
