//! Events of a run. Progress bars, metrics files and reports listen to them; training needs none of these.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::events::{HeldOutRecord, IncidentKind, MeasureRecord, StageInfo, StepRecord};
use crate::validation_state::BestLoss;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Long work before training: what, how much is done, how much there is.
    Preparing {
        /// What is being done.
        what: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// Something worth a line.
    Note(String),
    /// A stage begins or goes on.
    StageStarted {
        /// What it is.
        stage: StageInfo,
        /// Steps done before.
        done: u64,
    },
    /// A step.
    Step(StepRecord),
    /// Held-out loss of one category.
    HeldOut(HeldOutRecord),
    /// Something else that was measured.
    Measured(MeasureRecord),
    /// A checkpoint.
    Saved {
        /// Steps done.
        step: u64,
        /// Its folder.
        folder: PathBuf,
        /// Time that training waited for it.
        pause: Duration,
        /// Time that writing took.
        writing: Duration,
    },
    /// Something went wrong.
    Incident {
        /// The step at which it happened.
        step: u64,
        /// What.
        kind: IncidentKind,
    },
    /// The stage ends before its last step: its validation loss no longer falls.
    EndedEarly {
        /// The step that is its last.
        step: u64,
        /// The lowest validation loss.
        best: Option<BestLoss>,
    },
    /// All steps of the stage are done.
    StageEnded {
        /// Its name.
        stage: String,
    },
}

/// The line that listeners write about a stage that ends early.
pub fn ended_early(step: u64, best: Option<&BestLoss>) -> String {
    let best = best
        .map(|BestLoss { step, loss }| format!("; the lowest validation loss was {loss:.4} at step {step}"));
    format!("ended early after step {step}{}", best.unwrap_or_default())
}

/// Something that receives events.
pub trait Listener {
    /// Called for each event, in order.
    ///
    /// # Errors
    /// What the listener writes cannot be written.
    fn on(&mut self, event: &Event) -> Result<()>;
}

/// Several listeners as one.
#[derive(Default)]
pub struct Listeners(Vec<Box<dyn Listener>>);

impl Listeners {
    /// Adds one.
    pub fn with(mut self, listener: impl Listener + 'static) -> Self {
        self.0.push(Box::new(listener));
        self
    }
}

impl Listener for Listeners {
    fn on(&mut self, event: &Event) -> Result<()> {
        self.0.iter_mut().try_for_each(|listener| listener.on(event))
    }
}
