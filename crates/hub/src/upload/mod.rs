//! Files to a branch of a model on the Hub, as one commit.
//!
//! ```text
//! repository and branch, created where they are missing
//!   └► head ─► preupload: regular or LFS, and what the branch has ─► LFS objects that the Hub lacks ─► commit on head
//! ```
//!
//! After a fault, or where another commit came between, all of it is asked again: what the branch has is not committed
//! again, and what the store has is not sent again. So nothing has to be remembered on this side, and an upload that was
//! killed goes on; a file that was on its way begins again. The commit names the head that it was made for, since files
//! that are the same there are left out of it.

mod files;
mod lfs;
mod requests;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use smollm3_corpus::remote::{Attempts, Fault, RemoteClient};
use smollm3_recipe::HubId;

use crate::api::{Api, Trouble};
use crate::cache::is_commit;
use crate::error::{HubError, Result};
use crate::hub::Hub;
use crate::wanted::is_of_checkpoint;

pub use files::{Content, UploadFile};

use files::LocalFile;
use lfs::LfsStore;
use requests::{Change, Mode};

/// LFS files under way at once; a large one has several parts under way.
const AT_ONCE: usize = 2;

/// How often progress is reported, and a stop is heeded.
const TICK: Duration = Duration::from_millis(100);

/// Longer than any answer takes: bodies that are being sent are watched instead.
const ANSWER: Duration = Duration::from_secs(3600);

/// What goes where.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The repository, and the branch as its revision.
    pub to: &'a HubId,
    /// Whether nobody else is to see the repository: it is created so, and one that is public is refused.
    pub private: bool,
    /// What the commit says.
    pub message: &'a str,
    /// The files.
    pub files: &'a [UploadFile],
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The commit that the branch stands for now.
    pub commit: String,
    /// The branch's page.
    pub url: String,
    /// Whether anything was different from what the branch had.
    pub is_new: bool,
    /// Bytes that were sent to the LFS store.
    pub sent: u64,
    /// Files of the branch that somebody has edited, and that were left as they are.
    pub kept: Vec<String>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStep {
    /// Large files are read once for their hashes.
    Hashing,
    /// They are sent; what the Hub has already counts as sent.
    Sending,
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadProgress {
    /// What is being done.
    pub step: UploadStep,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub of_bytes: u64,
}

/// Told how far an upload is; `false` stops it.
pub type UploadReport<'a> = dyn FnMut(UploadProgress) -> bool + 'a;

impl Hub {
    /// Uploads files as one commit. Files of a checkpoint that the branch has and `upload` has not are removed, so that it
    /// holds one checkpoint and not parts of two; other files stay.
    ///
    /// # Errors
    /// No token, or one that may not write; a repository that is public and should not be; no space; offline; what cannot
    /// be read; a Hub that cannot be reached, after several attempts.
    pub fn upload(&self, upload: &Upload<'_>, report: &mut UploadReport<'_>) -> Result<Uploaded> {
        let writer = self.writer(upload.to)?;
        let files: Vec<LocalFile<'_>> = upload.files.iter().map(LocalFile::open).collect::<Result<_>>()?;
        let run = Run {
            api: self.api(&upload.to.repository),
            writer: &writer,
            upload,
            files: &files,
            taken: Arc::default(),
            sent: Cell::default(),
            progress: Cell::new((UploadStep::Hashing, 0)),
            report: RefCell::new(report),
        };
        self.remote()
            .block_on(while_wanted(run.to_the_end(), &|| run.go_on()))
    }

    /// Whether anything can be uploaded at all, as far as that is known without asking.
    ///
    /// # Errors
    /// No token, offline, or a place that is no branch.
    pub fn check_upload(&self, to: &HubId) -> Result<()> {
        self.writer(to).map(|_| ())
    }

    /// Makes sure that the repository is there and that this token may see it; `go_on` is asked while that takes.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn create(&self, to: &HubId, private: bool, go_on: &dyn Fn() -> bool) -> Result<()> {
        let writer = self.writer(to)?;
        let api = self.api(&to.repository);
        let asked = retried(self.remote(), format!("to {}", to.repository), || {
            requests::ensure_repository(&api, &writer, private)
        });
        self.remote().block_on(while_wanted(asked, go_on))
    }

    /// Creates a branch at a commit; `false` if there is one of this name. `go_on` is asked while that takes.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn create_branch(&self, to: &HubId, commit: &str, go_on: &dyn Fn() -> bool) -> Result<bool> {
        let writer = self.writer(to)?;
        let api = self.api(&to.repository);
        let asked = retried(self.remote(), format!("to {}", to.repository), || {
            requests::create_branch(&api, &writer, &to.revision, commit)
        });
        self.remote().block_on(while_wanted(asked, go_on))
    }

    /// A client for what changes a repository, if the environment allows for one.
    fn writer(&self, to: &HubId) -> Result<Client> {
        let endpoint = self.api(&to.repository).base().to_owned();
        if !to.folder.is_empty() || is_commit(&to.revision) {
            return Err(HubError::Destination(to.to_string()));
        }
        if self.is_offline() {
            return Err(HubError::UploadOffline);
        }
        if self.remote().hub_token().is_none() {
            return Err(HubError::NoToken { endpoint });
        }
        let built = RemoteClient::settings(self.remote().policy())
            .read_timeout(ANSWER)
            .build();
        built.map_err(|error| HubError::Request(format!("cannot set up HTTP: {error}")))
    }
}

/// Asks again after faults that may pass; `what` is uploaded, and where to.
async fn retried<T, F: Future<Output = std::result::Result<T, Trouble>>>(
    remote: &RemoteClient,
    what: String,
    ask: impl Fn() -> F,
) -> Result<T> {
    let mut attempts = Attempts::new(remote.policy());
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Fault(fault)) => attempts
                .after(&format!("cannot upload {what}"), fault)
                .await
                .map_err(HubError::Request)?,
        }
    }
}

/// Does something, and asks every [`TICK`] whether to go on with it: waiting for the next attempt may take minutes.
async fn while_wanted<T>(work: impl Future<Output = Result<T>>, go_on: &dyn Fn() -> bool) -> Result<T> {
    let mut work = pin!(work);
    loop {
        match select(work.as_mut(), pin!(tokio::time::sleep(TICK))).await {
            Either::Left((done, _)) => return done,
            Either::Right(_) if go_on() => {}
            Either::Right(_) => return Err(HubError::UploadInterrupted),
        }
    }
}

/// An upload on its way.
struct Run<'a> {
    api: Api<'a>,
    writer: &'a Client,
    upload: &'a Upload<'a>,
    files: &'a [LocalFile<'a>],
    /// Bytes of LFS files that have been taken, in this attempt.
    taken: Arc<AtomicU64>,
    /// Bytes that were sent, in all attempts.
    sent: Cell<u64>,
    /// What is being done, and its bytes in all.
    progress: Cell<(UploadStep, u64)>,
    report: RefCell<&'a mut UploadReport<'a>>,
}

impl Run<'_> {
    async fn to_the_end(&self) -> Result<Uploaded> {
        let what = format!("to {}", self.upload.to.repository);
        retried(self.api.remote, what.clone(), || async {
            requests::ensure_repository(&self.api, self.writer, self.upload.private).await?;
            requests::ensure_branch(&self.api, self.writer, &self.upload.to.revision).await
        })
        .await?;
        retried(self.api.remote, what, || self.attempt()).await
    }

    /// From the branch's head to a commit on it.
    async fn attempt(&self) -> std::result::Result<Uploaded, Trouble> {
        let revision = &self.upload.to.revision;
        let head = self.api.listing(revision, false).await?;
        let mut kept = Vec::new();
        let mut files = Vec::new();
        for file in self.files {
            match self.is_edited(file, &head).await? {
                true => kept.push(file.name().to_owned()),
                false => files.push(file),
            }
        }
        let modes = requests::preupload(&self.api, self.writer, revision, &files).await?;
        let (mut regular, mut large) = (Vec::new(), Vec::new());
        for (file, found) in files.iter().zip(&modes) {
            match found.mode {
                Mode::Regular => {
                    let bytes = file.bytes().map_err(Trouble::Refused)?;
                    if found.oid.as_deref() != Some(files::git_hash(&bytes).as_str()) {
                        regular.push((file.name(), bytes));
                    }
                }
                Mode::Lfs => large.push((*file, found.oid.as_deref())),
            }
        }
        self.hash(large.iter().map(|(file, _)| *file))
            .map_err(Trouble::Refused)?;
        let mut changed = Vec::new();
        for (file, oid) in large {
            if oid != Some(file.sha256().map_err(Trouble::Refused)?) {
                changed.push(file);
            }
        }
        self.sent.set(self.sent.get() + self.send(&changed).await?);

        let mut changes: Vec<Change<'_>> = Vec::new();
        changes.extend(regular.iter().map(|(name, bytes)| Change::File { name, bytes }));
        for file in changed {
            changes.push(Change::Lfs {
                name: file.name(),
                oid: file.sha256().map_err(Trouble::Refused)?,
                bytes: file.size(),
            });
        }
        let ours = |name: &str| self.files.iter().any(|file| file.name() == name);
        let stale = head
            .names
            .iter()
            .filter(|name| is_of_checkpoint(name) && !ours(name));
        changes.extend(stale.map(|name| Change::Deleted { name }));
        let is_new = !changes.is_empty();
        let commit = match is_new {
            false => head.commit,
            true => {
                let message = self.upload.message;
                requests::commit(&self.api, self.writer, revision, &head.commit, message, &changes).await?
            }
        };
        Ok(Uploaded {
            commit,
            url: self.page(),
            is_new,
            sent: self.sent.get(),
            kept,
        })
    }

    /// Whether the branch has another text in the place of one that was generated.
    async fn is_edited(
        &self,
        file: &LocalFile<'_>,
        head: &crate::api::Listing,
    ) -> std::result::Result<bool, Trouble> {
        let Some(marker) = file
            .marker()
            .filter(|_| head.names.iter().any(|name| name == file.name()))
        else {
            return Ok(false);
        };
        let info = self
            .api
            .info(&head.commit, file.name())
            .await
            .map_err(Trouble::Refused)?;
        let response = self.api.open(&info, None).await?;
        let text = response.text().await?;
        Ok(!text.contains(marker))
    }

    /// Reads large files once.
    fn hash<'f>(&self, files: impl Iterator<Item = &'f LocalFile<'f>>) -> Result<()> {
        let files: Vec<_> = files.filter(|file| !file.is_hashed()).collect();
        let of_bytes = files.iter().map(|file| file.size()).sum();
        let mut bytes = 0;
        for file in files {
            file.hash(&mut |more| {
                bytes += more;
                self.reported(UploadStep::Hashing, bytes, of_bytes)
            })?;
        }
        Ok(())
    }

    /// Sends what the store has not; returns the bytes that it took.
    async fn send(&self, files: &[&LocalFile<'_>]) -> std::result::Result<u64, Trouble> {
        self.taken.store(0, Ordering::Relaxed);
        let of_bytes = files.iter().map(|file| file.size()).sum();
        let store = LfsStore {
            api: &self.api,
            writer: self.writer,
            revision: &self.upload.to.revision,
            taken: &self.taken,
        };
        self.progress.set((UploadStep::Sending, of_bytes));
        let sent = stream::iter(files)
            .map(|file| store.send(file))
            .buffer_unordered(AT_ONCE)
            .try_fold(0, |sent, more| async move { Ok(sent + more) })
            .await
            .map_err(Trouble::Refused)?;
        self.reported(UploadStep::Sending, self.taken.load(Ordering::Relaxed), of_bytes)
            .map_err(Trouble::Refused)?;
        Ok(sent)
    }

    /// Whether to go on, where bytes are being sent or something is waited for.
    fn go_on(&self) -> bool {
        let (step, of_bytes) = self.progress.get();
        let bytes = self.taken.load(Ordering::Relaxed);
        self.reported(step, bytes, of_bytes).is_ok()
    }

    fn reported(&self, step: UploadStep, bytes: u64, of_bytes: u64) -> Result<()> {
        let progress = UploadProgress {
            step,
            bytes,
            of_bytes,
        };
        match (self.report.borrow_mut())(progress) {
            true => Ok(()),
            false => Err(HubError::UploadInterrupted),
        }
    }

    fn page(&self) -> String {
        let HubId {
            repository, revision, ..
        } = self.upload.to;
        match revision.as_str() {
            "main" => format!("{}/{repository}", self.api.base()),
            branch => format!("{}/{repository}/tree/{branch}", self.api.base()),
        }
    }
}

/// The branch was moved by somebody else.
fn moved(message: &str) -> Trouble {
    Trouble::Fault(Fault::Passing(
        format!("another commit came between ({message})"),
        None,
    ))
}
