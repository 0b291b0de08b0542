//! The best checkpoint of a stage, as its newest one knows it and `validation.json` says it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use smollm3_files::atomic_file::write_json;
use smollm3_recipe::{BestCheckpoint, Stage};

use crate::checkpoint::{self, folder_name, read_state};
use crate::error::{RecordError, Result};
use crate::validation_state::ValidationState;

/// The record in a stage's folder, for people and other programs.
#[derive(Debug, Serialize)]
struct ValidationRecord<'a> {
    #[serde(flatten)]
    state: &'a ValidationState,
    /// The folder of the best checkpoint, if it was kept.
    checkpoint: Option<String>,
}

/// Writes `validation.json` into a stage's folder.
///
/// # Errors
/// It cannot be written.
pub fn write_validation(stage_folder: &Path, state: &ValidationState) -> Result<()> {
    let folder = state.best.as_ref().map(|best| folder_name(best.step));
    let record = ValidationRecord {
        checkpoint: folder.filter(|name| stage_folder.join(name).is_dir()),
        state,
    };
    Ok(write_json(&stage_folder.join("validation.json"), &record)?)
}

/// The step of the best checkpoint, as the newest one whose state can be read knows it.
pub fn best_step(checkpoints: &[(u64, PathBuf)]) -> Option<u64> {
    let mut newest = checkpoints.iter().rev();
    let newest = newest.find_map(|(_, folder)| read_state(folder).ok())?;
    Some(newest.validation?.best?.step)
}

/// The checkpoint that stands for a stage: its newest, or its best where the stage says so. `None` if it has none.
///
/// # Errors
/// The folder cannot be listed, or the best checkpoint is gone.
pub fn stage_result(stage: &Stage, stage_folder: &Path) -> Result<Option<PathBuf>> {
    let mut all = checkpoint::list(stage_folder)?;
    let settings = stage.validation();
    let loads = settings.is_some_and(|settings| settings.best == BestCheckpoint::Load);
    let Some(best) = loads.then(|| best_step(&all)).flatten() else {
        return Ok(all.pop().map(|(_, folder)| folder));
    };
    match all.into_iter().find(|(step, _)| *step == best) {
        Some((_, folder)) => Ok(Some(folder)),
        None => Err(RecordError::Refused(format!(
            "stage \"{}\": its best checkpoint, {}, is gone; restore it, or remove the stage's folder to train it again",
            stage.name,
            stage_folder.join(folder_name(best)).display()
        ))),
    }
}
