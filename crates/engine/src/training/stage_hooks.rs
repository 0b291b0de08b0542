//! The loop's hooks of a stage: its checkpoints, its data, its evaluation.

use smollm3_records::{Event, GuardState, IncidentKind, Listener, RowRef, ValidationState};

use super::Hooks;
use super::stage_data::StageData;
use crate::checkpoint::{ResumePoint, SaveJob, StageCheckpoints};
use crate::{Result, TrainState};

/// The evaluation of a kind of stage. `()` evaluates nothing.
pub trait Evaluate {
    /// Evaluates the model at the end of a phase, or in between. Returns the validation loss, if there is one.
    ///
    /// # Errors
    /// Its data cannot be read, or a listener fails.
    fn evaluate(
        &self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<Option<f64>>;

    /// Whether the model is also evaluated before a stage begins, as phase `start` at step 0.
    fn at_start(&self) -> bool {
        true
    }
}

impl Evaluate for () {
    fn evaluate(&self, _: &TrainState, _: u64, _: &str, _: &mut dyn Listener) -> Result<Option<f64>> {
        Ok(None)
    }
}

/// The hooks of a stage of any kind.
pub(super) struct StageHooks<'a, B> {
    pub checkpoints: &'a StageCheckpoints<'a>,
    pub data: &'a dyn StageData<B>,
    pub evaluation: &'a dyn Evaluate,
}

impl<B> Hooks for StageHooks<'_, B> {
    fn snapshot(
        &mut self,
        state: &TrainState,
        step: u64,
        guard: &GuardState,
        validation: &ValidationState,
    ) -> Result<SaveJob> {
        self.checkpoints.snapshot(state, step, guard, validation)
    }

    fn last_good(&mut self, listener: &mut dyn Listener) -> Result<ResumePoint> {
        self.checkpoints.last_good(listener)
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        self.data.rows_of(step)
    }

    fn begins(&mut self, state: &TrainState, listener: &mut dyn Listener) -> Result<()> {
        if self.evaluation.at_start() {
            self.evaluate(state, 0, "start", listener)?;
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<Option<f64>> {
        self.evaluation
            .evaluate(state, step, phase, &mut Figures(listener))
    }
}

/// Passes figures on to a listener; one that is not finite is an incident too.
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
