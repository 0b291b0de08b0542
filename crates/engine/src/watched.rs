//! The hooks of a stage whose checkpoints are [`Kept`]: one implementation for every kind of stage, which says only what it
//! measures.

use smollm3_records::{Event, GuardState, IncidentKind, Listener, RowRef, ValidationState};

use crate::kept::Kept;
use crate::saver::Writing;
use crate::trainer::{Hooks, Reached};
use crate::{Result, TrainState};

/// What a kind of stage tells the loop.
pub trait Watch {
    /// What a step was given.
    fn rows_of(&self, step: u64) -> Vec<RowRef>;

    /// Measures the model where a phase has ended, or meanwhile. Returns the validation loss, if there is one.
    ///
    /// # Errors
    /// What is measured cannot be.
    fn measure(
        &self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<Option<f64>>;

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
    fn snapshot(
        &mut self,
        state: &TrainState,
        step: u64,
        guard: &GuardState,
        validation: &ValidationState,
    ) -> Result<Writing> {
        self.kept.snapshot(state, step, guard, validation)
    }

    fn last_good(&mut self, listener: &mut dyn Listener) -> Result<Reached> {
        self.kept.reached(|progress| progress.guard.bad == 0, listener)
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        self.watch.rows_of(step)
    }

    fn begins(&mut self, state: &TrainState, listener: &mut dyn Listener) -> Result<()> {
        match self.watch.measures_start() {
            true => self
                .watch
                .measure(state, 0, "start", &mut Figures(listener))
                .map(|_| ()),
            false => Ok(()),
        }
    }

    fn measure(
        &mut self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<Option<f64>> {
        self.watch.measure(state, step, phase, &mut Figures(listener))
    }
}

/// What is measured on its way to a listener; a figure that is no number is an incident too.
struct Figures<'a>(&'a mut dyn Listener);

impl Listener for Figures<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        self.0.on(event)?;
        let (step, name, value) = match event {
            Event::HeldOut(record) => (
                record.step,
                format!("loss on held-out {}", record.category),
                record.nats_per_token,
            ),
            Event::Measured(record) => (record.step, record.name.clone(), record.value),
            _ => return Ok(()),
        };
        match value.is_finite() {
            true => Ok(()),
            false => {
                let figure = format!("{name} is {value}");
                let kind = IncidentKind::NotFinite { figure };
                self.0.on(&Event::Incident { step, kind })
            }
        }
    }
}
