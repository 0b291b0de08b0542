//! The runs of a sweep as child processes, one at a time or one on each device.
//!
//! A thread waits for each child; they take runs from one list. Nothing is shared but the folders, so a run that fails,
//! hangs or is killed leaves the others alone.

use std::collections::BTreeMap;
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

/// Where one run at a time can take place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slot {
    /// The device, as `--device` takes it; the recipe's when absent.
    pub device: Option<String>,
}

/// How the runs that were asked for ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that are finished, now or before.
    pub finished: Vec<String>,
    /// Those that failed, each with the reason.
    pub failed: Vec<(String, String)>,
    /// Those that were stopped or never begun.
    pub stopped: Vec<String>,
}

/// Something that happened. Prints as a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A tokenizer and tokens are being prepared.
    Preparing {
        /// For how many runs.
        runs: usize,
    },
    /// A run begins or goes on.
    Started {
        /// Its name.
        run: String,
        /// Its device, if one was named.
        device: Option<String>,
        /// Whether it was begun before.
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
                let device = device.as_ref().map(|device| format!(" on {device}"));
                write!(f, "{run} {verb}{}", device.unwrap_or_default())
            }
            Self::Ended {
                run,
                how,
                after,
                finished,
                of,
            } => {
                let seconds = after.as_secs_f64();
                write!(
                    f,
                    "{run} {how} after {seconds:.0} s ({finished} of {of} runs finished)"
                )
            }
        }
    }
}

/// Runs what is not finished, `program` being `smollm3`, one run at a time in each of `slots`, until `stop` is set; `report`
/// gets what happens.
///
/// # Errors
/// The sweep's folder cannot be used, or one of the runs' folders is of another recipe: then nothing is run.
pub fn run(
    sweep: &Sweep,
    program: &Path,
    slots: &[Slot],
    stop: &AtomicBool,
    report: &mut dyn FnMut(&Progress),
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
    let work = RunStarter {
        sweep,
        program,
        stop,
        threads: threads_of(slots.len()),
    };
    let broken = work.prepare(&waiting, report)?;
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
            let (run, ended, after) = match message {
                Message::Started(progress) => {
                    report(&progress);
                    continue;
                }
                Message::NotBegun(run) => {
                    outcome.stopped.push(run);
                    continue;
                }
                Message::Ended(run, ended, after) => (run, ended, after),
            };
            let how = match &ended {
                Ended::Done => "finished".to_owned(),
                Ended::Stopped => "stopped".to_owned(),
                Ended::Failed(reason) => format!("failed ({reason})"),
            };
            match ended {
                Ended::Done => outcome.finished.push(run.clone()),
                Ended::Stopped => outcome.stopped.push(run.clone()),
                Ended::Failed(reason) => outcome.failed.push((run.clone(), reason)),
            }
            let finished = outcome.finished.len();
            report(&Progress::Ended {
                run,
                how,
                after,
                finished,
                of,
            });
        }
    });
    Ok(outcome)
}

enum Message {
    Started(Progress),
    Ended(String, Ended, Duration),
    NotBegun(String),
}

/// Each run's share of the cores, where several run at once.
fn threads_of(slots: usize) -> Option<usize> {
    let cores = available_parallelism().map_or(1, usize::from);
    (slots > 1).then(|| (cores / slots).max(1))
}

struct RunStarter<'a> {
    sweep: &'a Sweep,
    program: &'a Path,
    stop: &'a AtomicBool,
    threads: Option<usize>,
}

impl RunStarter<'_> {
    /// Prepares the data of the runs that have no folder yet, once for all that share them. Returns the keys of those that
    /// could not be prepared, and why.
    fn prepare(
        &self,
        waiting: &[(&PlannedRun, State)],
        report: &mut dyn FnMut(&Progress),
    ) -> Result<BTreeMap<String, Ended>> {
        // The first run of each key, and how many share it.
        let mut shared: Vec<(String, &PlannedRun, usize)> = Vec::new();
        for (run, _) in waiting
            .iter()
            .filter(|(run, state)| *state == State::New && run.has_sources())
        {
            let key = run.data_key();
            match shared.iter_mut().find(|(other, ..)| *other == key) {
                Some((.., runs)) => *runs += 1,
                None => shared.push((key, *run, 1)),
            }
        }
        let mut broken = BTreeMap::new();
        for (key, run, runs) in shared {
            if self.stop.load(Ordering::Relaxed) {
                broken.insert(key, Ended::Stopped);
                continue;
            }
            let prepared = self.sweep.prepared(&key);
            if is_ready(&prepared) {
                continue;
            }
            report(&Progress::Preparing { runs });
            expect(run, &prepared)?;
            let mut command = self.command(&["data", "prepare"], run);
            let folder = toml::Value::from(prepared.to_string_lossy().into_owned());
            command.args(["--set", &format!("run.output={folder}")]);
            match self.wait(&mut command, &format!("prepare-{key}"))? {
                Ended::Done => ready(&prepared)?,
                ended => {
                    broken.insert(key, ended);
                }
            }
        }
        Ok(broken)
    }

    /// The command `words` of the program, on the recipe of a run.
    fn command(&self, words: &[&str], run: &PlannedRun) -> Command {
        let mut command = Command::new(self.program);
        command.args(words).arg(&self.sweep.base);
        for setting in &run.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Runs a command to its end; its output goes to the log of this name.
    fn wait(&self, command: &mut Command, log: &str) -> Result<Ended> {
        let log = self.sweep.output.join("logs").join(format!("{log}.log"));
        child::run(command, &log, self.stop)
    }

    /// One run, from its present state to its end.
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
        let mut command = self.command(&["run"], run);
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
        let ended = self.wait(&mut command, &run.name)?;
        if ended == Ended::Done {
            run.finish()?;
        }
        Ok(ended)
    }
}
