//! The checkpoints of a stage that are kept.
//!
//! A run without interruptions writes *regular* checkpoints: at multiples of `checkpoint.every`, except among steps without
//! an update, and at the ends of phases. A stop adds another, at any step. Only regular ones are counted by
//! `checkpoint.keep` and averaged by a merge, so that the same ones are there whether a run was stopped or not. The
//! recipe and `state.json` decide which are regular, of checkpoints of earlier versions too.
//!
//! Two always stay: the newest, from which the next start resumes, and the newest good one, whose last step had an update, to
//! which a diverging run goes back. So does the one with the lowest validation loss, where `validation.best` says so; it is
//! regular only if it is due anyway.

use std::path::{Path, PathBuf};

use smollm3_recipe::{BestCheckpoint, Checkpoints, Stage};
use smollm3_records::{GuardState, best_step};

use crate::Result;
use crate::checkpoint::{self, Progress};

/// Whether a checkpoint is written after this step although no phase ends with it. Never after a step without an update: a run
/// would go back to a checkpoint before it.
pub(crate) fn is_due(settings: &Checkpoints, step: u64, guard: &GuardState) -> bool {
    guard.bad == 0 && settings.every.is_some_and(|every| step.is_multiple_of(every.0))
}

/// The checkpoints that a stage writes and keeps.
#[derive(Debug, Clone)]
pub struct Retention {
    settings: Checkpoints,
    /// Last steps of the phases that the recipe states.
    ends: Vec<u64>,
    /// Whether the one with the lowest validation loss stays.
    keeps_best: bool,
}

impl Retention {
    /// Those of a stage; `None` if it writes none while it trains.
    pub fn of(stage: &Stage) -> Option<Self> {
        let ends = stage.training().map(|training| {
            let phases = training.phases.iter();
            phases.map(|phase| training.end_step(phase)).collect()
        });
        Some(Self {
            settings: stage.checkpoints()?.clone(),
            ends: ends.unwrap_or_default(),
            keeps_best: stage
                .validation()
                .is_some_and(|settings| settings.best != BestCheckpoint::None),
        })
    }

    /// Whether a run without interruptions writes this checkpoint too.
    pub fn is_regular(&self, progress: &Progress) -> bool {
        let is_end = self.ends.contains(&progress.step) || progress.is_end();
        is_end || is_due(&self.settings, progress.step, &progress.guard)
    }

    /// Removes the other checkpoints.
    ///
    /// # Errors
    /// A folder cannot be listed or removed.
    pub fn prune(&self, stage_folder: &Path) -> Result<()> {
        let permanent = |step: u64| {
            let every = self.settings.permanent;
            self.ends.contains(&step) || every.is_some_and(|every| step.is_multiple_of(every.0))
        };
        let (mut counted, mut has_good) = (0, false);
        let all = checkpoint::list(stage_folder)?;
        let best = best_step(&all).filter(|_| self.keeps_best);
        for (index, (step, folder)) in all.into_iter().rev().enumerate() {
            let state = checkpoint::read_state(&folder).ok();
            // One whose state cannot be read passes with the regular ones.
            let regular = state.as_ref().is_none_or(|state| self.is_regular(state));
            let good = state.as_ref().is_some_and(|state| state.guard.bad == 0);
            let newest_good = good && !has_good;
            has_good |= good;
            if permanent(step) {
                continue;
            }
            // Only regular ones count, so that an extra one displaces none of them.
            counted += u32::from(regular);
            let among_kept = regular && counted <= self.settings.keep;
            if index > 0 && !newest_good && !among_kept && best != Some(step) {
                checkpoint::remove(&folder)?;
            }
        }
        Ok(())
    }

    /// The newest `count` regular checkpoints of a stage, by step, or all where there are fewer. They are not
    /// verified.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn newest_regular(&self, stage_folder: &Path, count: usize) -> Result<Vec<PathBuf>> {
        let numbered = checkpoint::list(stage_folder)?.into_iter().rev().enumerate();
        let regular = numbered.filter(|(index, (_, folder))| {
            // A damaged one is kept here: its reader reports it.
            checkpoint::read_state(folder).map_or(true, |state| {
                // An earlier version did not write the length of a stage; without known phases the newest is its end.
                let is_newest_of_old = *index == 0 && state.steps == 0 && self.ends.is_empty();
                is_newest_of_old || self.is_regular(&state)
            })
        });
        let mut found: Vec<PathBuf> = regular.map(|(_, (_, folder))| folder).take(count).collect();
        found.reverse();
        Ok(found)
    }
}
