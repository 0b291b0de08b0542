//! The log, as text or JSON; with several ranks, also a file for each.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use smollm3_records::{Event, Listener, Result, ended_early};
use tracing::{info, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::LogFormat;

/// Logs to standard error. `RUST_LOG` sets the level; the default is warnings, for JSON also every step.
pub fn init(format: LogFormat) {
    init_with(format, true, None);
}

/// [`init`] for one of several ranks: levels from `info` go to its file; only rank 0 logs to standard error.
pub fn init_rank(format: LogFormat, rank: usize) -> RankLog {
    let file = RankLog(Arc::new(Mutex::new(Lines::Kept(Vec::new()))));
    init_with(format, rank == 0, Some(file.clone()));
    file
}

fn init_with(format: LogFormat, is_shown: bool, file: Option<RankLog>) {
    let default = match format {
        LogFormat::Text => "warn",
        LogFormat::Json => "info",
    };
    let filter = |default| EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let shown = tracing_subscriber::fmt::layer()
        .with_ansi(console::colors_enabled_stderr())
        .with_writer(io::stderr);
    let shown = match format {
        LogFormat::Text => shown.with_filter(filter(default)).boxed(),
        LogFormat::Json => shown
            .json()
            .flatten_event(true)
            .with_filter(filter(default))
            .boxed(),
    };
    let kept = file.map(|file| {
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || file.clone())
            .with_filter(filter("info"))
    });
    tracing_subscriber::registry()
        .with(is_shown.then_some(shown))
        .with(kept)
        .init();
}

/// The log of a rank. Lines are buffered until the run's folder exists.
#[derive(Debug, Clone)]
pub struct RankLog(Arc<Mutex<Lines>>);

#[derive(Debug)]
enum Lines {
    Kept(Vec<u8>),
    File(File),
}

impl RankLog {
    /// Continues in `run/logs/rank-N.log`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(&self, run: &Path, rank: usize) -> anyhow::Result<()> {
        let folder = run.join("logs");
        let path = folder.join(format!("rank-{rank}.log"));
        let open = || -> io::Result<File> {
            fs::create_dir_all(&folder)?;
            let mut file = File::options().create(true).append(true).open(&path)?;
            if let Lines::Kept(lines) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
                file.write_all(lines)?;
            }
            Ok(file)
        };
        let file = open().with_context(|| format!("{}: cannot write the log", path.display()))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Lines::File(file);
        Ok(())
    }
}

impl Write for RankLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Lines::Kept(lines) => lines.write(bytes),
            Lines::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The listener that logs events.
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
                collective_seconds = step.collectives.map(|record| record.seconds),
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
            Event::EndedEarly { step, best } => info!(step, "{}", ended_early(*step, best.as_ref())),
            Event::StageEnded { stage } => info!(stage, "stage ended"),
        }
        Ok(())
    }
}
