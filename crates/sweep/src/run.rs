//! The runs of a sweep as child processes, one at a time or one on each device.
//!
//! A thread waits for each child; they take runs from one list. Nothing is shared but the folders, so a run that fails,
//! hangs or is killed leaves the others alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::child::{self, Ended};
use crate::folder::{State, lock};
use crate::prepared::{begin, expect, is_ready, ready};
use crate::{PlannedRun, Result, Sweep};

/// Where one run at a time can go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slot {
    /// The device, as `--device` takes it; the recipe's when absent.
    pub device: Option<String>,
}

/// What became of the runs that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that are finished, now or before.
    pub finished: Vec<String>,
    /// Those that failed, each with the reason.
    pub failed: Vec<(String, String)>,
    /// Those that were stopped or not begun.
    pub stopped: Vec<String>,
}

/// Something that happened. Prints as a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A tokenizer and tokens are being prepared for so many runs.
    Preparing {
        /// The runs.
        runs: usize,
    },
    /// A run begins or goes on.
    Started {
        /// Its name.
        run: String,
        /// Its device, if one was named.
        device: Option<String>,
        /// Whether it has been begun before.
        goes_on: bool,
    },
    /// A run has ended.
    Ended {
        /// Its name.
        run: String,
        /// How, in words.
        how: String,
        /// After how long.
        after: Duration,
        /// Runs that are finished by now.
        finished: usize,
        /// Runs that were asked for.
        of: usize,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preparing { runs } => write!(f, "preparing the data of {runs} runs"),
            Self::Started { run, device, goes_on } => {
                let verb = if *goes_on { "goes on" } else { "starts" };
                match device {
                    Some(device) => write!(f, "{run} {verb} on {device}"),
                    None => write!(f, "{run} {verb}"),
                }
            }
            Self::Ended {
                run,
                how,
                after,
                finished,
                of,
            } => write!(
                f,
                "{run} {how} after {:.0} s ({finished} of {of} runs finished)",
                after.as_secs_f64()
            ),
        }
    }
}

/// Runs what is not finished, `program` being `smollm3`, one run at a time in each of `slots`, until `stop` is set; `say` is
/// told what happens.
///
/// # Errors
/// The sweep's folder cannot be used, or one of the runs' folders is of another recipe: then nothing is run.
pub fn run(
    sweep: &Sweep,
    program: &Path,
    slots: &[Slot],
    stop: &AtomicBool,
    say: &mut dyn FnMut(&Progress),
) -> Result<Outcome> {
    let _lock = lock(&sweep.output)?;
    let mut outcome = Outcome::default();
    let mut waiting = Vec::new();
    let of = sweep.asked().count();
    for run in sweep.asked() {
        match run.state()? {
            State::Finished => outcome.finished.push(run.name.clone()),
            state => waiting.push((run, state)),
        }
    }
    let threads = threads_of(slots.len());
    let work = Work {
        sweep,
        program,
        stop,
        threads,
    };
    let broken = work.prepare(&waiting, say)?;
    waiting.retain(|(run, _)| match broken.get(&run.data_key()) {
        None => true,
        Some(Ended::Failed(reason)) => {
            let reason = format!("its data could not be prepared: {reason}");
            outcome.failed.push((run.name.clone(), reason));
            false
        }
        Some(_) => {
            outcome.stopped.push(run.name.clone());
            false
        }
    });
    let next = AtomicUsize::new(0);
    let (send, receive) = channel();
    std::thread::scope(|scope| {
        for slot in slots.iter().take(waiting.len()) {
            let send = send.clone();
            let (work, waiting, next) = (&work, &waiting, &next);
            scope.spawn(move || {
                while let Some((run, state)) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work.one(run, *state, slot, &send);
                }
            });
        }
        drop(send);
        for message in receive {
            match message {
                Message::Started(progress) => say(&progress),
                Message::NotBegun(run) => outcome.stopped.push(run),
                Message::Ended(run, ended, after) => {
                    let how = match ended {
                        Ended::Done => {
                            outcome.finished.push(run.clone());
                            "finished".to_owned()
                        }
                        Ended::Stopped => {
                            outcome.stopped.push(run.clone());
                            "stopped".to_owned()
                        }
                        Ended::Failed(reason) => {
                            outcome.failed.push((run.clone(), reason.clone()));
                            format!("failed ({reason})")
                        }
                    };
                    let finished = outcome.finished.len();
                    say(&Progress::Ended {
                        run,
                        how,
                        after,
                        finished,
                        of,
                    });
                }
            }
        }
    });
    Ok(outcome)
}

enum Message {
    Started(Progress),
    Ended(String, Ended, Duration),
    NotBegun(String),
}

/// The fair part of the cores, where several runs share them.
fn threads_of(slots: usize) -> Option<usize> {
    let cores = available_parallelism().map_or(1, usize::from);
    (slots > 1).then(|| (cores / slots).max(1))
}

struct Work<'a> {
    sweep: &'a Sweep,
    program: &'a Path,
    stop: &'a AtomicBool,
    threads: Option<usize>,
}

impl Work<'_> {
    /// Prepares the data of the runs that have no folder yet, once for all that share them. Gives the keys of those that
    /// could not be, and why.
    fn prepare(
        &self,
        waiting: &[(&PlannedRun, State)],
        say: &mut dyn FnMut(&Progress),
    ) -> Result<BTreeMap<String, Ended>> {
        let mut broken = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let new = || {
            waiting
                .iter()
                .filter(|(run, state)| *state == State::New && run.has_sources())
        };
        for (run, _) in new() {
            let key = run.data_key();
            if !seen.insert(key.clone()) {
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                broken.insert(key, Ended::Stopped);
                continue;
            }
            let prepared = self.sweep.prepared(&key);
            if is_ready(&prepared) {
                continue;
            }
            say(&Progress::Preparing {
                runs: new().filter(|(other, _)| other.data_key() == key).count(),
            });
            expect(run, &prepared)?;
            let mut command = Command::new(self.program);
            command.args(["data", "prepare"]).arg(&self.sweep.base);
            for setting in &run.settings {
                command.args(["--set", setting]);
            }
            let folder = toml::Value::from(prepared.to_string_lossy().into_owned());
            command.args(["--set", &format!("run.output={folder}")]);
            let log = self.sweep.output.join("logs").join(format!("prepare-{key}.log"));
            let ended = child::run(&mut command, &log, self.stop)?;
            match ended {
                Ended::Done => ready(&prepared)?,
                ended => {
                    broken.insert(key, ended);
                }
            }
        }
        Ok(broken)
    }

    /// One run, from what it has to its end.
    fn one(&self, run: &PlannedRun, state: State, slot: &Slot, send: &Sender<Message>) {
        // The receiver outlives all senders.
        if self.stop.load(Ordering::Relaxed) {
            let _ = send.send(Message::NotBegun(run.name.clone()));
            return;
        }
        let _ = send.send(Message::Started(Progress::Started {
            run: run.name.clone(),
            device: slot.device.clone(),
            goes_on: state == State::Started,
        }));
        let since = Instant::now();
        let ended = self.child(run, state, slot);
        let ended = ended.unwrap_or_else(|error| Ended::Failed(error.to_string()));
        let _ = send.send(Message::Ended(run.name.clone(), ended, since.elapsed()));
    }

    fn child(&self, run: &PlannedRun, state: State, slot: &Slot) -> Result<Ended> {
        if state == State::New && run.has_sources() {
            begin(run, &self.sweep.prepared(&run.data_key()))?;
        }
        let mut command = Command::new(self.program);
        command.arg("run").arg(&self.sweep.base);
        for setting in &run.settings {
            command.args(["--set", setting]);
        }
        if let Some(device) = &slot.device {
            command.args(["--device", device]);
        }
        if let Some(threads) = self.threads {
            for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
                if std::env::var_os(variable).is_none() {
                    command.env(variable, threads.to_string());
                }
            }
        }
        let log = self.sweep.output.join("logs").join(format!("{}.log", run.name));
        let ended = child::run(&mut command, &log, self.stop)?;
        if ended == Ended::Done {
            run.finish()?;
        }
        Ok(ended)
    }
}
