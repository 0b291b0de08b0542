//! `run.push`: checkpoints to the Hub during training.
//!
//! A thread of rank 0 uploads one checkpoint after the other (`uploader.rs`); the loop never waits for it, and what fails
//! is an incident. Each checkpoint is one commit on `main`, and a branch at that commit. A branch that is there already,
//! of a stage that is done again or whose evaluation came later, gets a separate commit, for which the weights are read once
//! more. Where uploads take longer than training, a waiting checkpoint is skipped for a newer one, but never the last of a stage.
//!
//! `pushed.json` in the run's folder records what the Hub has, so that a resumed run sends what was missed: the last checkpoint of
//! each stage and, with `every = "checkpoint"`, the one that a stage resumes from, none before it. The results of later stages
//! are sent again after it, so that `main` is the last one's.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use smollm3_engine::ranks::on_rank_zero;
use smollm3_engine::{EngineError, Run, checkpoint};
use smollm3_files::atomic_file::write_json;
use smollm3_hub::Hub;
use smollm3_recipe::{Push, PushEvery, Recipe, Stage};
use smollm3_records::{Event, Incident, IncidentKind, Listener, add_incident, stage_result};

use crate::error::Result;
use crate::uploader::{Job, Offered, Outcome, Uploader};

const PUSHED: &str = "pushed.json";

/// How often a stop is checked for while waiting for the last upload.
const LOOK: Duration = Duration::from_millis(100);

/// What has been uploaded: `pushed.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Pushed {
    repository: String,
    /// By branch.
    branches: BTreeMap<String, PushedBranch>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PushedBranch {
    commit: String,
    /// Whether the stage had ended and been evaluated: then the card says so too.
    ended: bool,
    /// Stands for the checkpoint, so that another one in its place is noticed.
    #[serde(default)]
    checkpoint: Option<String>,
}

/// A listener that also uploads what `run.push` asks for, and passes all on to another.
pub struct Pushing<'a> {
    listener: &'a mut dyn Listener,
    uploads: Option<Uploads>,
}

struct Uploads {
    push: Push,
    run: PathBuf,
    /// The stage that started last.
    stage: String,
    /// Whether it still runs.
    runs: bool,
    pushed: Pushed,
    waiting: Arc<Mutex<VecDeque<Job>>>,
    /// Wakes the thread, which ends when this is dropped.
    wake: Option<Sender<()>>,
    outcomes: Receiver<Outcome>,
    cancelled: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Checkpoints that were put into the queue, which names their links.
    offered: u64,
}

/// Refuses a `run.push` that cannot work, before hours go into data.
///
/// # Errors
/// There is no token, or the environment forbids requests.
pub(crate) fn check_push(recipe: &Recipe) -> smollm3_engine::Result<()> {
    match &recipe.run.push {
        None => Ok(()),
        Some(push) => Ok(Hub::new()?.check_upload(&push.branch("main"))?),
    }
}

impl<'a> Pushing<'a> {
    /// Of a run; nothing is uploaded without `run.push`, nor by a rank other than the first. Every rank calls it.
    ///
    /// # Errors
    /// The record of what has been uploaded cannot be read, or the Hub's client not be set up.
    pub fn of(run: &Run, listener: &'a mut dyn Listener) -> Result<Self> {
        let uploads = match &run.recipe.run.push {
            None => None,
            Some(push) => on_rank_zero(&*run.ranks, || Uploads::start(run, push.clone()))?,
        };
        Ok(Self { listener, uploads })
    }

    /// A stage has ended and been evaluated: the checkpoint that stands for it is uploaded, unless it has been.
    ///
    /// # Errors
    /// A listener fails, or the checkpoint cannot be found.
    pub fn stage_ended(&mut self, stage: &Stage) -> Result<()> {
        if let Some(uploads) = &mut self.uploads
            && let Some(folder) = stage_result(stage, &uploads.run.join(&stage.name))?
        {
            let state = checkpoint::read_state(&folder).map_err(|problem| {
                EngineError::Refused(format!("{}: cannot read {problem}", folder.display()))
            })?;
            let offered = Offered::of(&stage.name, state.step, &folder, true);
            // What was sent before it took its place on `main`.
            if uploads.offered > 0 || !uploads.has(&offered) {
                self.offer(offered, &folder)?;
            }
        }
        Ok(self.report()?)
    }

    /// Waits for what is still being uploaded; `stop` ends that.
    ///
    /// # Errors
    /// A listener fails; [`EngineError::Interrupted`] if something was not uploaded for the stop.
    pub fn finish(&mut self, stop: &AtomicBool) -> Result<()> {
        if let Some(uploads) = &mut self.uploads {
            uploads.wake = None;
        }
        let mut cut_off = None;
        while let Some(uploads) = &self.uploads {
            if stop.load(Ordering::Relaxed) {
                uploads.cancelled.store(true, Ordering::Relaxed);
            }
            match uploads.outcomes.recv_timeout(LOOK) {
                // The user's own stop is not an incident.
                Ok(outcome) if outcome.result.is_err() && uploads.cancelled.load(Ordering::Relaxed) => {
                    cut_off = Some(outcome.offered);
                }
                Ok(outcome) => self.report_all(vec![outcome])?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match cut_off {
            None => Ok(()),
            Some(Offered { stage, step, .. }) => Err(EngineError::Interrupted { stage, step }.into()),
        }
    }

    /// Queues a checkpoint, and reports those that are skipped for it.
    fn offer(&mut self, offered: Offered, folder: &Path) -> smollm3_records::Result<()> {
        let uploads = self.uploads.as_mut();
        let skipped = uploads.map(|uploads| uploads.offer(offered, folder));
        self.report_all(skipped.unwrap_or_default())
    }

    /// Reports the uploads that have ended since.
    fn report(&mut self) -> smollm3_records::Result<()> {
        let uploads = self.uploads.as_ref();
        let outcomes = uploads.map(|uploads| uploads.outcomes.try_iter().collect());
        self.report_all(outcomes.unwrap_or_default())
    }

    fn report_all(&mut self, outcomes: Vec<Outcome>) -> smollm3_records::Result<()> {
        for outcome in outcomes {
            let Some(uploads) = &mut self.uploads else { break };
            let event = uploads.recorded(outcome);
            self.listener.on(&event)?;
        }
        Ok(())
    }
}

impl Listener for Pushing<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        self.listener.on(event)?;
        match (&mut self.uploads, event) {
            (Some(uploads), Event::StageStarted { stage, done }) => {
                uploads.stage.clone_from(&stage.name);
                uploads.runs = true;
                // Missed, perhaps, by the process that wrote it.
                if *done > 0 && uploads.push.every == PushEvery::Checkpoint {
                    let folder = stage.folder.join(checkpoint::folder_name(*done));
                    let offered = Offered::of(&stage.name, *done, &folder, false);
                    if !uploads.has(&offered) {
                        self.offer(offered, &folder)?;
                    }
                }
            }
            (Some(uploads), Event::Saved { step, folder, .. })
                if uploads.push.every == PushEvery::Checkpoint =>
            {
                let offered = Offered::of(&uploads.stage, *step, folder, false);
                self.offer(offered, folder)?;
            }
            (Some(uploads), Event::StageEnded { .. }) => uploads.runs = false,
            _ => {}
        }
        self.report()
    }
}

impl Uploads {
    fn start(run: &Run, push: Push) -> Result<Self> {
        for stage in &run.recipe.stages {
            // Links that a process which was killed has left; what is unfinished of a stage goes with them.
            checkpoint::sweep(&run.stage_folder(&stage.name))?;
        }
        let path = run.output.join(PUSHED);
        let known: Pushed = match fs::read(&path) {
            // If it is unreadable, uploads compare with the Hub instead.
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Pushed::default(),
            Err(error) => return Err(EngineError::from(smollm3_files::io("read", &path)(error)).into()),
        };
        let pushed = match known.repository == push.repository {
            true => known,
            false => Pushed {
                repository: push.repository.clone(),
                ..Pushed::default()
            },
        };
        let first = run
            .recipe
            .stages
            .first()
            .map_or(String::new(), |stage| stage.name.clone());
        let waiting: Arc<Mutex<VecDeque<Job>>> = Arc::default();
        let cancelled = Arc::new(AtomicBool::new(false));
        let (wake, wakes) = channel();
        let (told, outcomes) = channel();
        let uploader = Uploader {
            hub: Hub::new().map_err(EngineError::from)?,
            push: push.clone(),
            run: run.recipe.run.name.clone(),
            license: run.recipe.run.license.clone(),
            first: first.clone(),
            waiting: Arc::clone(&waiting),
            cancelled: Arc::clone(&cancelled),
        };
        Ok(Self {
            push,
            run: run.output.clone(),
            stage: first,
            runs: false,
            pushed,
            waiting,
            wake: Some(wake),
            outcomes,
            cancelled,
            thread: Some(thread::spawn(move || uploader.work(&wakes, &told))),
            offered: 0,
        })
    }

    /// Whether the Hub has this very checkpoint, with its evaluation if it has that.
    fn has(&self, offered: &Offered) -> bool {
        let branch = self.push.branch_of(&offered.stage, offered.step).revision;
        let known = self.pushed.branches.get(&branch);
        known.is_some_and(|known| known.checkpoint == offered.checkpoint && (known.ended || !offered.ended))
    }

    /// Queues a checkpoint; returns those that are skipped for it.
    fn offer(&mut self, offered: Offered, folder: &Path) -> Vec<Outcome> {
        self.offered += 1;
        let job = Job::linked(offered, folder, self.offered);
        let (stage, step) = (job.offered.stage.clone(), job.offered.step);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, mut passed): (Vec<Job>, Vec<Job>) = waiting.drain(..).partition(|job| job.offered.ended);
        waiting.extend(kept);
        // The same checkpoint, now with its evaluation, is not reported as skipped.
        passed.retain(|job| (&job.offered.stage, job.offered.step) != (&stage, step));
        waiting.push_back(job);
        drop(waiting);
        if let Some(wake) = &self.wake {
            // A thread that is gone has reported why.
            let _ = wake.send(());
        }
        let passed_over = |job: Job| Outcome {
            offered: job.offered.clone(),
            result: Err(format!(
                "skipped for step {step} of {stage}: uploading takes longer than training"
            )),
        };
        passed.into_iter().map(passed_over).collect()
    }

    /// Records the result of an upload and returns its event. A full disk does not end the run.
    fn recorded(&mut self, outcome: Outcome) -> Event {
        let Outcome { offered, result } = outcome;
        let Offered { stage, step, .. } = offered;
        match result {
            Ok(commit) => {
                let branch = self.push.branch_of(&stage, step).revision;
                let note = format!(
                    "pushed step {step} of {stage} to {}@{branch} (commit {})",
                    self.push.repository,
                    commit.get(..8).unwrap_or(&commit)
                );
                let pushed = PushedBranch {
                    commit,
                    ended: offered.ended,
                    checkpoint: offered.checkpoint,
                };
                self.pushed.branches.insert(branch, pushed);
                if let Err(error) = write_json(&self.run.join(PUSHED), &self.pushed) {
                    tracing::warn!(%error, "what has been pushed is not written down");
                }
                Event::Note(note)
            }
            Err(error) => {
                let kind = IncidentKind::NotPushed {
                    stage: stage.clone(),
                    error,
                };
                // `Metrics` records those of the stage that runs.
                if !(self.runs && stage == self.stage) {
                    self.record(&stage, step, &kind);
                }
                Event::Incident { step, kind }
            }
        }
    }

    /// Records the incident of a stage that has ended, or has not begun.
    fn record(&self, stage: &str, step: u64, kind: &IncidentKind) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let incident = Incident {
            time: time.as_secs(),
            step,
            kind: kind.clone(),
        };
        if let Err(error) = add_incident(&self.run.join(stage), &incident) {
            tracing::warn!(%error, "the incident is not written down");
        }
    }
}

impl Drop for Uploads {
    /// However the run ends, the upload ends soon after.
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
