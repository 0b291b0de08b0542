//! The thread that uploads checkpoints, and its jobs.
//!
//! A checkpoint's files are hard-linked into another folder first, so that the run may remove the checkpoint meanwhile.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use smollm3_card::{About, publication};
use smollm3_engine::checkpoint;
use smollm3_hub::{Hub, HubError, Upload, UploadProgress};
use smollm3_recipe::{ADAPTER_FOLDER, Push};

/// A checkpoint that goes to the Hub.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) stage: String,
    pub(crate) step: u64,
    /// Whether its stage has ended and been evaluated.
    pub(crate) ended: bool,
    /// Stands for it ([`checkpoint::identity`]).
    pub(crate) checkpoint: Option<String>,
}

impl Offered {
    /// The checkpoint in `folder`.
    pub(crate) fn of(stage: &str, step: u64, folder: &Path, ended: bool) -> Self {
        Self {
            stage: stage.to_owned(),
            step,
            ended,
            // An unreadable manifest counts as unknown.
            checkpoint: checkpoint::identity(folder).ok().flatten(),
        }
    }
}

/// A checkpoint to upload.
pub(crate) struct Job {
    pub(crate) offered: Offered,
    folder: PathBuf,
    /// Whether `folder` is one of links, made for this.
    is_linked: bool,
}

impl Job {
    /// The checkpoint in `folder`, linked where the file system has links; `number` names the links.
    pub(crate) fn linked(offered: Offered, folder: &Path, number: u64) -> Self {
        // Swept like a draft of a checkpoint.
        let name = format!(".{}.push-{number}.part", checkpoint::folder_name(offered.step));
        let links = folder.with_file_name(name);
        let is_linked = link(folder, &links);
        Self {
            offered,
            folder: if is_linked { links } else { folder.to_owned() },
            is_linked,
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.is_linked {
            // Swept at the next start, if not now.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The result of a job.
pub(crate) struct Outcome {
    pub(crate) offered: Offered,
    /// The commit.
    pub(crate) result: Result<String, String>,
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
pub(crate) struct Uploader {
    pub(crate) hub: Hub,
    pub(crate) push: Push,
    /// The run's name.
    pub(crate) run: String,
    pub(crate) license: Option<String>,
    /// The first stage, whose incident it is where nothing can be uploaded at all.
    pub(crate) first: String,
    pub(crate) waiting: Arc<Mutex<VecDeque<Job>>>,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Uploader {
    /// Uploads one job for each of `wakes`, until all senders are gone.
    pub(crate) fn work(&self, wakes: &Receiver<()>, told: &Sender<Outcome>) {
        // At the beginning, so that faults show before the first checkpoint.
        let main = self.push.branch("main");
        let created = self.hub.create(&main, self.push.private, &|| self.goes_on());
        if let Err(error) = created
            && self.goes_on()
        {
            let _ = told.send(Outcome {
                offered: Offered {
                    stage: self.first.clone(),
                    step: 0,
                    ended: false,
                    checkpoint: None,
                },
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
                offered: job.offered.clone(),
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
    fn upload(&self, job: &Job) -> Result<String, String> {
        let Offered { stage, step, .. } = &job.offered;
        let about = About {
            repository: Some(&self.push.repository),
            license: self.license.as_deref(),
            ..About::default()
        };
        let files = publication(&job.folder, &about).map_err(|error| error.to_string())?;
        let message = format!("{stage}: step {step} (run {})", self.run);
        let mut go_on = |_: UploadProgress| self.goes_on();
        let (main, branch) = (self.push.branch("main"), self.push.branch_of(stage, *step));
        let upload = Upload {
            to: &main,
            private: self.push.private,
            message: &message,
            files: &files,
        };
        let mut pushed = || {
            let done = self.hub.upload(&upload, &mut go_on)?;
            if !self
                .hub
                .create_branch(&branch, &done.commit, &|| self.goes_on())?
            {
                self.hub.upload(
                    &Upload {
                        to: &branch,
                        ..upload
                    },
                    &mut go_on,
                )?;
            }
            Ok::<_, HubError>(done.commit)
        };
        pushed().map_err(|error| error.to_string())
    }
}
