//! Checkpoints written during training.
//!
//! The loop waits for the copy from the device; a thread writes it. If that fails, as on a full disk, the thread reports it and
//! retries while the run continues. A newer checkpoint replaces one that cannot be written; only the end of a stage insists.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use smollm3_records::{Event, IncidentKind, Listener};

use crate::{EngineError, Result};

/// Writes a checkpoint and returns its folder. Called again after a failure.
pub type SaveJob = Box<dyn Fn() -> Result<PathBuf> + Send>;

/// Time before the first new attempt; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Attempts that the end of a stage, or a stop, waits for.
const LAST_ATTEMPTS: u32 = 5;

/// Writes one checkpoint at a time.
#[derive(Default)]
pub(crate) struct Saver {
    running: Option<Running>,
}

struct Running {
    step: u64,
    pause: Duration,
    /// Whether a failure has been reported; one report a checkpoint is enough.
    reported: bool,
    outcomes: Receiver<Outcome>,
    given_up: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// An attempt.
type Outcome = std::result::Result<(PathBuf, Duration), EngineError>;

impl Saver {
    /// Starts to write what `snapshot` copies; waits for a checkpoint that is still being written.
    ///
    /// # Errors
    /// The state cannot be copied, or a listener fails.
    pub fn start(
        &mut self,
        step: u64,
        snapshot: impl FnOnce() -> Result<SaveJob>,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let begin = Instant::now();
        self.give_up(listener)?;
        let job = snapshot()?;
        let (sender, outcomes) = channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&given_up);
        self.running = Some(Running {
            step,
            pause: begin.elapsed(),
            reported: false,
            outcomes,
            given_up,
            thread: thread::spawn(move || write(&job, &sender, &flag)),
        });
        Ok(())
    }

    /// Reports the progress of the checkpoint being written, if any.
    ///
    /// # Errors
    /// A listener fails.
    pub fn poll(&mut self, listener: &mut dyn Listener) -> Result<()> {
        while let Some(running) = &self.running {
            let Ok(outcome) = running.outcomes.try_recv() else {
                break;
            };
            self.report(outcome, listener)?;
        }
        Ok(())
    }

    /// Waits until the checkpoint is written.
    ///
    /// # Errors
    /// It cannot be written after several attempts, or a listener fails.
    pub fn finish(&mut self, listener: &mut dyn Listener) -> Result<()> {
        let mut attempts = 0;
        while let Some(running) = &self.running {
            let Ok(outcome) = running.outcomes.recv() else {
                self.running = None;
                break;
            };
            attempts += u32::from(outcome.is_err());
            if attempts >= LAST_ATTEMPTS {
                self.running = None;
                return outcome.map(|_| ());
            }
            self.report(outcome, listener)?;
        }
        Ok(())
    }

    /// Waits for the current attempt only.
    ///
    /// # Errors
    /// A listener fails.
    pub fn give_up(&mut self, listener: &mut dyn Listener) -> Result<()> {
        if let Some(running) = &self.running {
            running.given_up.store(true, Ordering::Relaxed);
        }
        while let Some(running) = &self.running {
            match running.outcomes.recv() {
                Ok(outcome) => self.report(outcome, listener)?,
                Err(_) => self.running = None,
            }
        }
        Ok(())
    }

    fn report(&mut self, outcome: Outcome, listener: &mut dyn Listener) -> Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let step = running.step;
        match outcome {
            Err(_) if running.reported => Ok(()),
            Ok((folder, writing)) => {
                let pause = running.pause;
                self.running = None;
                Ok(listener.on(&Event::Saved {
                    step,
                    folder,
                    pause,
                    writing,
                })?)
            }
            Err(error) => {
                running.reported = true;
                let error = error.to_string();
                let kind = IncidentKind::NotSaved { error };
                Ok(listener.on(&Event::Incident { step, kind })?)
            }
        }
    }
}

impl Drop for Running {
    /// However the run ends, the current attempt is completed.
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        while !self.thread.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Tries until it is done or given up.
fn write(job: &SaveJob, outcomes: &Sender<Outcome>, given_up: &AtomicBool) {
    let mut wait = FIRST_WAIT;
    loop {
        let begin = Instant::now();
        let outcome = job().map(|folder| (folder, begin.elapsed()));
        let done = outcome.is_ok();
        if outcomes.send(outcome).is_err() || done {
            return;
        }
        let begin = Instant::now();
        while begin.elapsed() < wait {
            if given_up.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        wait = (2 * wait).min(LONGEST_WAIT);
    }
}
