//! `run.push`: checkpoints to the Hub while training goes on.
//!
//! A thread of rank 0 uploads one checkpoint after the other; the loop never waits for it, and what fails is an incident.
//! Each checkpoint is one commit on `main`, and a branch at that commit. Its files are linked under a name of their own
//! first, so that the run may remove the checkpoint meanwhile. Where uploads take longer than training, a checkpoint that
//! still waits is passed over for a newer one; the last one of a stage never is. `pushed.json` in the run's folder says
//! what the Hub has, so that a run that goes on sends what was missed.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use smollm3_card::{About, publication};
use smollm3_engine::{EngineError, Run, checkpoint};
use smollm3_files::atomic_file::write_atomically;
use smollm3_hub::{Hub, Upload, UploadProgress};
use smollm3_recipe::{ADAPTER_FOLDER, Push, PushEvery, Recipe};
use smollm3_records::{Event, Incident, IncidentKind, Listener, add_incident};

use crate::error::Result;

const PUSHED: &str = "pushed.json";

/// How often a stop is looked for while the last upload is waited for.
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
}

/// A checkpoint to upload.
struct Job {
    stage: String,
    step: u64,
    ended: bool,
    folder: PathBuf,
    /// Whether `folder` is one of links, made for this.
    is_linked: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.is_linked {
            // Swept when the stage goes on, if not now.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// What has become of one.
struct Outcome {
    stage: String,
    step: u64,
    ended: bool,
    /// The commit.
    result: std::result::Result<String, String>,
}

/// A listener that also uploads what `run.push` asks for, and passes all on to another.
pub struct Pushing<'a> {
    listener: &'a mut dyn Listener,
    uploads: Option<Uploads>,
}

struct Uploads {
    push: Push,
    run: PathBuf,
    /// The stage that is running.
    stage: String,
    pushed: Pushed,
    waiting: Arc<Mutex<VecDeque<Job>>>,
    /// Tells the thread that something waits; it ends when this is gone.
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
    /// Of a run; nothing is uploaded without `run.push`, nor by a rank other than the first.
    ///
    /// # Errors
    /// The record of what has been uploaded cannot be read.
    pub fn of(run: &Run, listener: &'a mut dyn Listener) -> Result<Self> {
        let push = run.recipe.run.push.clone().filter(|_| run.ranks.rank() == 0);
        let uploads = push.map(|push| Uploads::start(run, push)).transpose()?;
        Ok(Self { listener, uploads })
    }

    /// A stage has ended and been evaluated: its last checkpoint is uploaded, unless it has been.
    ///
    /// # Errors
    /// A listener fails, or the stage's folder cannot be listed.
    pub fn stage_ended(&mut self, stage: &str) -> Result<()> {
        if let Some(uploads) = &mut self.uploads
            && let Some((step, folder)) = checkpoint::list(&uploads.run.join(stage))?.pop()
        {
            let branch = uploads.push.branch_of(stage, step).revision;
            let known = uploads.pushed.branches.get(&branch);
            if !known.is_some_and(|known| known.ended) {
                let passed = uploads.offer(stage, step, &folder, true);
                self.tell_all(passed)?;
            }
        }
        Ok(self.tell()?)
    }

    /// Waits for what is still being uploaded; `stop` ends that.
    ///
    /// # Errors
    /// A listener fails.
    pub fn finish(&mut self, stop: &AtomicBool) -> Result<()> {
        let Some(uploads) = &mut self.uploads else {
            return Ok(());
        };
        uploads.wake = None;
        loop {
            let Some(uploads) = &self.uploads else {
                return Ok(());
            };
            if stop.load(Ordering::Relaxed) {
                uploads.cancelled.store(true, Ordering::Relaxed);
            }
            match uploads.outcomes.recv_timeout(LOOK) {
                Ok(outcome) => self.tell_all(vec![outcome])?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Tells what has become of uploads, if anything has.
    fn tell(&mut self) -> smollm3_records::Result<()> {
        let outcomes: Vec<Outcome> = match &self.uploads {
            Some(uploads) => uploads.outcomes.try_iter().collect(),
            None => Vec::new(),
        };
        self.tell_all(outcomes)
    }

    fn tell_all(&mut self, outcomes: Vec<Outcome>) -> smollm3_records::Result<()> {
        for outcome in outcomes {
            let Some(uploads) = &mut self.uploads else { break };
            let event = uploads.recorded(outcome)?;
            self.listener.on(&event)?;
        }
        Ok(())
    }
}

impl Listener for Pushing<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        self.listener.on(event)?;
        match (&mut self.uploads, event) {
            (Some(uploads), Event::StageStarted { stage, .. }) => uploads.stage.clone_from(&stage.name),
            (Some(uploads), Event::Saved { step, folder, .. })
                if uploads.push.every == PushEvery::Checkpoint =>
            {
                let stage = uploads.stage.clone();
                let passed = uploads.offer(&stage, *step, folder, false);
                self.tell_all(passed)?;
            }
            _ => {}
        }
        self.tell()
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
            // What is unreadable costs a comparison with the Hub.
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
            pushed,
            waiting,
            wake: Some(wake),
            outcomes,
            cancelled,
            thread: Some(thread::spawn(move || uploader.work(&wakes, &told))),
            offered: 0,
        })
    }

    /// Puts a checkpoint behind what waits; returns what is passed over for it.
    fn offer(&mut self, stage: &str, step: u64, folder: &Path, ended: bool) -> Vec<Outcome> {
        self.offered += 1;
        let name = format!(".{}.push-{}.part", checkpoint::folder_name(step), self.offered);
        let links = folder.with_file_name(name);
        let is_linked = link(folder, &links);
        let job = Job {
            stage: stage.to_owned(),
            step,
            ended,
            folder: if is_linked { links } else { folder.to_owned() },
            is_linked,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, mut passed): (Vec<Job>, Vec<Job>) = waiting.drain(..).partition(|job| job.ended);
        waiting.extend(kept);
        // The same checkpoint, now with its evaluation, is not passed over.
        passed.retain(|other| (&other.stage, other.step) != (&job.stage, job.step));
        waiting.push_back(job);
        drop(waiting);
        if let Some(wake) = &self.wake {
            // A thread that is gone has said why.
            let _ = wake.send(());
        }
        let passed_over = |job: Job| Outcome {
            stage: job.stage.clone(),
            step: job.step,
            ended: false,
            result: Err(format!(
                "passed over for step {step} of {stage}: uploading takes longer than training"
            )),
        };
        passed.into_iter().map(passed_over).collect()
    }

    /// Writes down what has become of an upload, and says it.
    fn recorded(&mut self, outcome: Outcome) -> smollm3_records::Result<Event> {
        let Outcome {
            stage,
            step,
            ended,
            result,
        } = outcome;
        match result {
            Ok(commit) => {
                let branch = self.push.branch_of(&stage, step).revision;
                let note = format!(
                    "pushed step {step} of {stage} to {}@{branch} (commit {})",
                    self.push.repository,
                    commit.get(..8).unwrap_or(&commit)
                );
                self.pushed
                    .branches
                    .insert(branch, PushedBranch { commit, ended });
                // Names and hashes: JSON holds them.
                let text = serde_json::to_string_pretty(&self.pushed).unwrap_or_default() + "\n";
                write_atomically(&self.run.join(PUSHED), text.as_bytes())?;
                Ok(Event::Note(note))
            }
            Err(error) => {
                let kind = IncidentKind::NotPushed { error };
                let time = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs();
                let incident = Incident {
                    time,
                    step,
                    kind: kind.clone(),
                };
                // Its stage may have ended, or not have begun. A disk that is full does not end the run.
                let folder = self.run.join(&stage);
                if let Err(error) = add_incident(&folder, &incident) {
                    tracing::warn!(%error, "the incident is not written down");
                }
                Ok(Event::Incident { step, kind })
            }
        }
    }
}

impl Drop for Uploads {
    /// Whatever ends the run, the upload ends soon; what the Hub has taken it has.
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

/// The files of a checkpoint under other names, without the state of training; `false` where the file system has no links.
fn link(folder: &Path, links: &Path) -> bool {
    let _ = fs::remove_dir_all(links);
    let linked = link_files(folder, links).and_then(|()| match folder.join(ADAPTER_FOLDER) {
        adapter if adapter.is_dir() => link_files(&adapter, &links.join(ADAPTER_FOLDER)),
        _ => Ok(()),
    });
    if linked.is_err() {
        let _ = fs::remove_dir_all(links);
    }
    linked.is_ok()
}

fn link_files(folder: &Path, links: &Path) -> std::io::Result<()> {
    fs::create_dir(links)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_state = name
            .to_str()
            .is_some_and(|name| name.starts_with(checkpoint::OPTIMIZER));
        if entry.path().is_file() && !is_state {
            fs::hard_link(entry.path(), links.join(name))?;
        }
    }
    Ok(())
}

/// The thread.
struct Uploader {
    push: Push,
    /// The run's name.
    run: String,
    license: Option<String>,
    /// The first stage, whose incident it is where nothing can be uploaded at all.
    first: String,
    waiting: Arc<Mutex<VecDeque<Job>>>,
    cancelled: Arc<AtomicBool>,
}

impl Uploader {
    fn work(&self, wakes: &Receiver<()>, told: &Sender<Outcome>) {
        let hub = Hub::new().and_then(|hub| {
            // At the beginning, so that what is wrong is known before the first checkpoint.
            hub.create(&self.push.branch("main"), self.push.private, &|| self.goes_on())?;
            Ok(hub)
        });
        if let Err(error) = hub {
            let _ = told.send(Outcome {
                stage: self.first.clone(),
                step: 0,
                ended: false,
                result: Err(error.to_string()),
            });
        }
        while let Ok(()) = wakes.recv() {
            let job = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(job) = job else { continue };
            let outcome = Outcome {
                result: self.upload(&job),
                stage: job.stage.clone(),
                step: job.step,
                ended: job.ended,
            };
            drop(job);
            if told.send(outcome).is_err() {
                return;
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.cancelled.load(Ordering::Relaxed)
    }

    /// One commit on `main`, and the branch that keeps it.
    fn upload(&self, job: &Job) -> std::result::Result<String, String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let hub = Hub::new().map_err(|error| words(&error))?;
        let about = About {
            repository: Some(&self.push.repository),
            license: self.license.as_deref(),
            ..About::default()
        };
        let files = publication(&job.folder, &about).map_err(|error| words(&error))?;
        let message = format!("{}: step {} (run {})", job.stage, job.step, self.run);
        let mut go_on = |_: UploadProgress| self.goes_on();
        let (main, branch) = (
            self.push.branch("main"),
            self.push.branch_of(&job.stage, job.step),
        );
        let upload = Upload {
            to: &main,
            private: self.push.private,
            message: &message,
            files: &files,
        };
        let mut pushed = || {
            let done = hub.upload(&upload, &mut go_on)?;
            if !hub.create_branch(&branch, &done.commit, &|| self.goes_on())? {
                hub.upload(
                    &Upload {
                        to: &branch,
                        ..upload
                    },
                    &mut go_on,
                )?;
            }
            Ok::<_, smollm3_hub::HubError>(done.commit)
        };
        pushed().map_err(|error| words(&error))
    }
}
