//! What a run says while it goes on. Progress bars, metrics files and reports listen; none is needed to train.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;

/// One training step, as it is written to `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step in the stage, from 1.
    pub step: u64,
    /// Phase of the stage.
    pub phase: String,
    /// Tokens seen in the stage, this step included.
    pub tokens: u64,
    /// Mean loss, nats a token.
    pub loss: f64,
    /// Learning rate of this step's update.
    pub learning_rate: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Seconds the step took.
    pub seconds: f64,
    /// Seconds of them spent waiting for data.
    pub data_seconds: f64,
}

/// Loss on text kept out of training, at the end of a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOutRecord {
    /// Steps done.
    pub step: u64,
    /// Phase that just ended.
    pub phase: String,
    /// Category of sources.
    pub category: String,
    /// Nats a token.
    pub nats_per_token: f64,
    /// Bits a byte of text.
    pub bits_per_byte: f64,
    /// Tokens predicted.
    pub tokens: u64,
}

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
        /// Its name.
        stage: String,
        /// Steps done before.
        done: u64,
        /// Steps in all.
        total: u64,
        /// Where its files go.
        folder: PathBuf,
    },
    /// A step.
    Step(StepRecord),
    /// Held-out loss of one category.
    HeldOut(HeldOutRecord),
    /// A checkpoint.
    Saved {
        /// Steps done.
        step: u64,
        /// Its folder.
        folder: PathBuf,
        /// Time that training waited.
        pause: Duration,
    },
    /// All steps of the stage are done.
    StageEnded {
        /// Its name.
        stage: String,
    },
}

/// Something that is told of events.
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
