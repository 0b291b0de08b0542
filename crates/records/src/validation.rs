//! The validation loss of a stage as it goes on: which checkpoint is the best, and whether the stage ends early.
//!
//! Rank 0 measures and tells the others, and what has been measured is part of a checkpoint, so the decision is the same on
//! every rank and wherever a run is stopped.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;
use smollm3_recipe::{BestCheckpoint, Stage, Validation};

use crate::checkpoint::{self, folder_name, read_state};
use crate::error::{RecordError, Result};

/// What is remembered of the measurements of a stage; those before its first step do not count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationState {
    /// The lowest loss.
    pub best: Option<BestLoss>,
    /// Measurements in a row since then.
    pub without_gain: u32,
    /// Whether the stage has ended for it.
    #[serde(default)]
    pub ended: bool,
}

/// The lowest validation loss of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestLoss {
    /// The step after which it was measured.
    pub step: u64,
    /// The loss, in the unit of the stage.
    pub loss: f64,
}

impl ValidationState {
    /// Takes a measurement, `None` where it is no number. Returns whether it is the best so far.
    pub fn take(&mut self, settings: &Validation, step: u64, loss: Option<f64>) -> bool {
        let lowest = self.best.as_ref().map_or(f64::INFINITY, |best| best.loss);
        let better = loss.filter(|loss| *loss < lowest - settings.min_delta());
        match better {
            Some(loss) => {
                self.best = Some(BestLoss { step, loss });
                self.without_gain = 0;
            }
            None => self.without_gain += 1,
        }
        let patience = settings.stop_early.as_ref().map(|stop| stop.patience);
        self.ended = patience.is_some_and(|patience| self.without_gain >= patience);
        better.is_some()
    }
}

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
    let newest = checkpoints
        .iter()
        .rev()
        .find_map(|(_, folder)| read_state(folder).ok())?;
    Some(newest.validation?.best?.step)
}

/// The checkpoint that stands for a stage: its newest, or its best where the stage says so. `None` if it has none.
///
/// # Errors
/// The folder cannot be listed, or the best checkpoint is gone.
pub fn stage_result(stage: &Stage, stage_folder: &Path) -> Result<Option<PathBuf>> {
    let mut all = checkpoint::list(stage_folder)?;
    let loads = stage
        .validation()
        .is_some_and(|settings| settings.best == BestCheckpoint::Load);
    let best = if loads { best_step(&all) } else { None };
    let Some(best) = best else {
        return Ok(all.pop().map(|(_, folder)| folder));
    };
    match all.into_iter().find(|(step, _)| *step == best) {
        Some((_, folder)) => Ok(Some(folder)),
        None => Err(RecordError::Refused(format!(
            "stage \"{}\": its best checkpoint, {}, is gone; restore it, or write validation.best = \"keep\" to go on from \
             the newest",
            stage.name,
            stage_folder.join(folder_name(best)).display()
        ))),
    }
}
