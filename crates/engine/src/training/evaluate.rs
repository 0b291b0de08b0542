//! The evaluation of a stage while it trains.

use smollm3_records::{Event, IncidentKind, Listener};

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

/// Passes figures on to a listener; one that is not finite is an incident too.
pub(super) struct Figures<'a>(pub &'a mut dyn Listener);

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
