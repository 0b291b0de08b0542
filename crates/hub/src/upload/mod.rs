//! Uploads files to a branch of a model on the Hub, as one commit.
//!
//! ```text
//! repository and branch, created where they are missing
//!   └► head ─► preupload: regular or LFS, and what the branch has ─► LFS objects that the Hub lacks ─► commit on head
//! ```
//!
//! After a fault, or if another commit came in between, all steps are repeated: what the branch has is not committed again,
//! and what the store has is not sent again. So there is no local state, and a killed upload can be resumed; a file in
//! flight starts again. The commit names its parent, because it leaves out files that are unchanged there.

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
use smollm3_corpus::remote::RemoteClient;
use smollm3_recipe::HubId;

use crate::api::{Api, Asked, Listing, Trouble};
use crate::cache::is_commit;
use crate::error::{HubError, Result};
use crate::hub::Hub;
use crate::wanted::is_of_checkpoint;

pub use files::{Content, UploadFile};

use files::LocalFile;
use lfs::LfsStore;
use requests::{Change, Mode};

/// Maximum number of LFS files in flight; a large one has several parts in flight.
const AT_ONCE: usize = 2;

/// How often progress is reported, which may stop the upload.
const TICK: Duration = Duration::from_millis(100);

/// Longer than any answer takes: the progress of request bodies is watched instead.
const ANSWER: Duration = Duration::from_secs(3600);

/// What to upload, and where.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The repository, and the branch as its revision.
    pub to: &'a HubId,
    /// Whether the repository must be private: it is created so, and a public one is refused.
    pub private: bool,
    /// The commit message.
    pub message: &'a str,
    /// The files.
    pub files: &'a [UploadFile],
}

/// The result of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The head of the branch.
    pub commit: String,
    /// The branch's page.
    pub url: String,
    /// Whether anything differed from what the branch had.
    pub is_new: bool,
    /// Bytes that were sent to the LFS store.
    pub sent: u64,
    /// Files that were edited on the Hub, and left as they are.
    pub kept: Vec<String>,
}

/// A step of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStep {
    /// Large files are read for their hashes.
    Hashing,
    /// They are sent; what the Hub has counts as sent.
    Sending,
}

/// The progress of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadProgress {
    /// The step.
    pub step: UploadStep,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub of_bytes: u64,
}

/// Called with the progress of an upload; `false` stops it.
pub type UploadReport<'a> = dyn FnMut(UploadProgress) -> bool + 'a;

impl Hub {
    /// Uploads files as one commit. Files of a checkpoint that are on the branch but not in `upload` are removed, so that
    /// parts of two checkpoints never mix; other files are kept.
    ///
    /// # Errors
    /// There is no token, or it may not write; the repository is public and should not be; the quota is used up; offline; a
    /// file cannot be read; the Hub cannot be reached after several attempts.
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

    /// Checks that an upload is possible, as far as is known without a request.
    ///
    /// # Errors
    /// There is no token, `HF_HUB_OFFLINE` is set, or `to` is not a branch.
    pub fn check_upload(&self, to: &HubId) -> Result<()> {
        self.writer(to).map(|_| ())
    }

    /// Creates the repository unless it exists, and checks that the token may see it. `go_on` is polled meanwhile.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn create(&self, to: &HubId, private: bool, go_on: &dyn Fn() -> bool) -> Result<()> {
        let writer = self.writer(to)?;
        let api = self.api(&to.repository);
        let what = format!("upload to {}", to.repository);
        let asked = api.asked_first(&what, || requests::ensure_repository(&api, &writer, private));
        self.remote().block_on(while_wanted(asked, go_on))
    }

    /// Creates a branch at a commit; `false` if it exists. `go_on` is polled meanwhile.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn create_branch(&self, to: &HubId, commit: &str, go_on: &dyn Fn() -> bool) -> Result<bool> {
        let writer = self.writer(to)?;
        let api = self.api(&to.repository);
        let what = format!("upload to {}", to.repository);
        let asked = api.retried(&what, || {
            requests::create_branch(&api, &writer, &to.revision, commit)
        });
        self.remote().block_on(while_wanted(asked, go_on))
    }

    /// A client for requests that change a repository, if the environment permits any.
    fn writer(&self, to: &HubId) -> Result<Client> {
        let endpoint = self.api(&to.repository).shown();
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

/// Runs `work`, and polls `go_on` every [`TICK`]: the wait for the next attempt may take minutes.
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

/// An upload in progress.
struct Run<'a> {
    api: Api<'a>,
    writer: &'a Client,
    upload: &'a Upload<'a>,
    files: &'a [LocalFile<'a>],
    /// Bytes of LFS files that the store has received in this attempt.
    taken: Arc<AtomicU64>,
    /// Bytes that were sent, in all attempts.
    sent: Cell<u64>,
    /// The step, and its bytes in all.
    progress: Cell<(UploadStep, u64)>,
    report: RefCell<&'a mut UploadReport<'a>>,
}

impl Run<'_> {
    async fn to_the_end(&self) -> Result<Uploaded> {
        let what = format!("upload to {}", self.upload.to.repository);
        let ensured = self.api.retried(&what, || async {
            requests::ensure_repository(&self.api, self.writer, self.upload.private).await?;
            requests::ensure_branch(&self.api, self.writer, &self.upload.to.revision).await
        });
        ensured.await?;
        self.api.retried(&what, || self.attempt()).await
    }

    /// Commits to the branch's current head.
    async fn attempt(&self) -> Asked<Uploaded> {
        let revision = &self.upload.to.revision;
        let head = self.api.listing(revision).await?;
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
                    let bytes = file.bytes()?;
                    if found.oid.as_deref() != Some(files::git_hash(&bytes).as_str()) {
                        regular.push((file.name(), bytes));
                    }
                }
                Mode::Lfs => large.push((*file, found.oid.as_deref())),
            }
        }
        self.hash(large.iter().map(|(file, _)| *file))?;
        let mut changed = Vec::new();
        for (file, oid) in large {
            if oid != Some(file.sha256()?) {
                changed.push(file);
            }
        }
        self.sent.set(self.sent.get() + self.send(&changed).await?);

        let mut changes: Vec<Change<'_>> = Vec::new();
        changes.extend(regular.iter().map(|(name, bytes)| Change::File { name, bytes }));
        for file in changed {
            changes.push(Change::Lfs {
                name: file.name(),
                oid: file.sha256()?,
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

    /// Whether a generated file was edited on the branch.
    async fn is_edited(&self, file: &LocalFile<'_>, head: &Listing) -> Asked<bool> {
        match file.marker() {
            Some(marker) if head.names.iter().any(|name| name == file.name()) => {
                let info = self.api.info(&head.commit, file.name()).await?;
                let text = self.api.open(&info, None).await?.text().await?;
                Ok(!text.contains(marker))
            }
            _ => Ok(false),
        }
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

    /// Sends what the store lacks; returns the number of bytes sent.
    async fn send(&self, files: &[&LocalFile<'_>]) -> Result<u64> {
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
            .await?;
        self.reported(UploadStep::Sending, self.taken.load(Ordering::Relaxed), of_bytes)?;
        Ok(sent)
    }

    /// Reports progress; whether to continue.
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
            "main" => format!("{}/{repository}", self.api.shown()),
            branch => format!("{}/{repository}/tree/{branch}", self.api.shown()),
        }
    }
}

/// Someone else moved the branch.
fn moved(message: &str) -> Trouble {
    Trouble::passing(format!("another commit came in between ({message})"))
}
