//! The hooks of a stage whose checkpoints are [`Kept`]: one implementation for every kind of stage, which says only what it
//! measures.

use crate::events::RowRef;
use crate::guard::GuardState;
use crate::kept::Kept;
use crate::saver::Writing;
use crate::trainer::{Hooks, Reached};
use crate::{Listener, Result, TrainState};

/// What a kind of stage tells the loop.
pub trait Watch {
    /// What a step was given.
    fn rows_of(&self, step: u64) -> Vec<RowRef>;

    /// Measures the model where a phase has ended.
    ///
    /// # Errors
    /// What is measured cannot be.
    fn measure(&self, state: &TrainState, step: u64, phase: &str, listener: &mut dyn Listener) -> Result<()>;

    /// Whether the model is also measured, as phase `start` at step 0, before a stage begins.
    fn measures_start(&self) -> bool {
        true
    }
}

/// A stage with what it keeps.
pub struct Watched<'a, W> {
    /// Its checkpoints.
    pub kept: &'a Kept<'a>,
    /// What it measures.
    pub watch: W,
}

impl<W: Watch> Hooks for Watched<'_, W> {
    fn snapshot(&mut self, state: &TrainState, step: u64, guard: &GuardState) -> Result<Writing> {
        self.kept.snapshot(state, step, guard)
    }

    fn last_good(&mut self, listener: &mut dyn Listener) -> Result<Reached> {
        self.kept.reached(|progress| progress.guard.bad == 0, listener)
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        self.watch.rows_of(step)
    }

    fn begins(&mut self, state: &TrainState, listener: &mut dyn Listener) -> Result<()> {
        match self.watch.measures_start() {
            true => self.watch.measure(state, 0, "start", listener),
            false => Ok(()),
        }
    }

    fn phase_ended(
        &mut self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        self.watch.measure(state, step, phase, listener)
    }
}
