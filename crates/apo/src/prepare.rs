//! Pairs tokenised before a run.

use smollm3_conversations::{ChatSetup, Earlier, Prepared, Result};
use smollm3_recipe::{PreparedData, Recipe, Stage};
use smollm3_records::{Event, Listener};
use smollm3_sources::Data;

use crate::encoder::PairEncoder;

/// The pairs of a stage that an earlier run or preparation left in the folder of `recipe`'s run. No row of the data is read:
/// the stage itself notices a file that has changed since.
pub fn prepared_data(recipe: &Recipe, stage: &Stage) -> Option<PreparedData> {
    let earlier = Earlier::of(recipe, stage)?;
    Some(PreparedData {
        rows: earlier.total(|report| report.trained),
        tokens: earlier.total(|report| report.tokens),
    })
}

/// Tokenises the pairs of all stages whose template does not come from a checkpoint that a run has yet to make.
///
/// # Errors
/// As [`Prepared::of`].
pub fn prepare_pairs(recipe: &Recipe, data: &Data, listener: &mut dyn Listener) -> Result<()> {
    for stage in &recipe.stages {
        let Some(preference) = stage.preference() else {
            continue;
        };
        if ChatSetup::is_later(stage, &preference.chat.template) {
            listener.on(&Event::Note(format!(
                "{}: its template is that of the stage before; its pairs are prepared when it runs",
                stage.name
            )))?;
            continue;
        }
        let encoder = PairEncoder::of(recipe, &data.tokenizer, stage, preference)?;
        Prepared::of(recipe, data, stage, &preference.chat.data, &encoder, listener)?;
    }
    Ok(())
}
