//! Log lines, for people or for machines.

use smollm3_engine::{Event, Listener, Result};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Sends log lines to standard error. `RUST_LOG` chooses which; without it warnings, and as JSON every step.
pub fn init(format: LogFormat) {
    let default = match format {
        LogFormat::Text => "warn",
        LogFormat::Json => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// The listener that tells events as log lines.
pub struct Logs;

impl Listener for Logs {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Preparing { what, done, total } if done == total => info!(what, total, "prepared"),
            Event::Preparing { .. } => {}
            Event::Note(text) => info!("{text}"),
            Event::StageStarted { stage, done } => {
                info!(stage = stage.name, done, steps = stage.steps, "stage started");
            }
            Event::Step(step) => info!(
                step = step.step,
                phase = step.phase,
                tokens = step.tokens,
                loss = step.loss,
                learning_rate = step.learning_rate,
                grad_norm = step.grad_norm,
                seconds = step.seconds,
                data_seconds = step.data_seconds,
                observed = ?step.observed,
                "step"
            ),
            Event::HeldOut(record) => info!(
                step = record.step,
                phase = record.phase,
                category = record.category,
                nats_per_token = record.nats_per_token,
                bits_per_byte = record.bits_per_byte,
                "held out"
            ),
            Event::Measured(record) => info!(
                step = record.step,
                phase = record.phase,
                measured = record.name,
                value = record.value,
                standard_error = record.standard_error,
                "held out"
            ),
            Event::Saved {
                step,
                folder,
                pause,
                writing,
            } => info!(
                step,
                folder = %folder.display(),
                pause_seconds = pause.as_secs_f64(),
                writing_seconds = writing.as_secs_f64(),
                "saved"
            ),
            Event::Incident { step, kind } => warn!(step, "{kind}"),
            Event::StageEnded { stage } => info!(stage, "stage ended"),
        }
        Ok(())
    }
}
