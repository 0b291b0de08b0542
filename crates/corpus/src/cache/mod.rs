//! A bounded cache of remote shards on local disk, with prefetching.
//!
//! Opening a shard downloads it if needed and pins it; unpinned shards are evicted, least recently used first, when room is
//! needed. [`ShardCache::prefetch`] starts a download in the background, so a reader that announces the next shard never
//! waits for a fast enough store. Files stay between runs: their names contain a hash of address, version and size.
//!
//! Any number of processes, such as the ranks of a node, share a folder: each shard is downloaded once for all, the bound
//! holds over all, and a pinned shard stays in place. If others use all the room, a reader waits for them; so a reader
//! should hold one shard at a time, and only while it reads.

mod bundle;
mod folder;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::error::{CorpusError, Result};
use crate::remote::RemoteClient;
use crate::shards::{OpenShard, Shard, Shards};

pub use bundle::Bundle;
use folder::{CacheFolder, Claim, Entry};

/// Interval of polling for other processes; doubles from the first to the second.
const POLL: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(200)];

/// A longer wait for room is reported.
const LONG: Duration = Duration::from_secs(30);

/// A bounded folder of remote files.
#[derive(Debug)]
pub struct ShardCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: String,
    folder: CacheFolder,
    bundles: Vec<Bundle>,
    entries: Vec<Entry>,
    shards: Vec<Shard>,
    /// Whether there is room for a file besides the one being read.
    prefetches: bool,
    client: RemoteClient,
    /// Locked after the folder is held, never before.
    state: Mutex<State>,
    changed: Condvar,
}

/// The downloads and pins of this handle.
#[derive(Debug, Default)]
struct State {
    coming: HashMap<usize, AbortHandle>,
    failed: HashMap<usize, CorpusError>,
    /// Open handles per file.
    pins: HashMap<usize, usize>,
}

/// Protects a cached file from eviction while it lives.
#[derive(Debug)]
pub struct Pin {
    shared: Arc<Shared>,
    index: usize,
    lock: Option<File>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        drop(self.lock.take());
        let mut state = self.shared.state();
        if let Some(pins) = state.pins.get_mut(&self.index) {
            *pins -= 1;
            if *pins == 0 {
                state.pins.remove(&self.index);
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl ShardCache {
    /// A cache of at most `most_bytes` in `folder` for the files of a source.
    ///
    /// # Errors
    /// A file larger than the whole cache, or a folder that cannot be written.
    pub fn open(
        source: &str,
        folder: impl AsRef<Path>,
        most_bytes: u64,
        files: Vec<impl Into<Bundle>>,
        client: RemoteClient,
    ) -> Result<Self> {
        let bundles: Vec<Bundle> = files.into_iter().map(Into::into).collect();
        let largest = bundles.iter().max_by_key(|bundle| bundle.bytes());
        let bytes = largest.map_or(0, Bundle::bytes);
        if let Some(largest) = largest.filter(|_| bytes > most_bytes) {
            let name = &largest.main.shard.name;
            let problem = format!(
                "`{name}` has {bytes} bytes, the cache holds {most_bytes}; raise its size to at least that, twice for \
                 prefetching"
            );
            return Err(CorpusError::source(source, problem));
        }
        let folder = CacheFolder::create(folder.as_ref(), most_bytes)?;
        let entry = |bundle: &Bundle| {
            let key = bundle.key();
            let files = bundle.files(&folder.path_of(&key, bundle.base())).into_iter();
            Entry {
                bytes: bundle.bytes(),
                files: files.map(|(file, path)| (path, file.shard.bytes)).collect(),
                key,
            }
        };
        let whole = |bundle: &Bundle| Shard {
            bytes: bundle.bytes(),
            ..bundle.main.shard.clone()
        };
        Ok(ShardCache {
            shared: Arc::new(Shared {
                source: source.to_owned(),
                entries: bundles.iter().map(entry).collect(),
                shards: bundles.iter().map(whole).collect(),
                prefetches: bytes.saturating_mul(2) <= most_bytes,
                folder,
                bundles,
                client,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        })
    }

    /// Bytes in the folder, downloads in progress counted in full.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn bytes(&self) -> Result<u64> {
        self.shared.folder.hold()?.bytes()
    }
}

impl Shards for ShardCache {
    fn name(&self) -> &str {
        &self.shared.source
    }

    fn shards(&self) -> &[Shard] {
        &self.shared.shards
    }

    fn open(&self, index: usize) -> Result<OpenShard> {
        let shared = &self.shared;
        let entry = shared.entries.get(index);
        let Some((entry, (path, _))) = entry.and_then(|entry| Some((entry, entry.files.last()?))) else {
            let problem = format!("it has no file {index}, it has {}", shared.entries.len());
            return Err(CorpusError::source(&shared.source, problem));
        };
        let (started, mut poll, mut reported) = (Instant::now(), POLL[0], false);
        // Whether a download was started or waited for here; the failure of an earlier one may have passed.
        let mut has_waited = false;
        loop {
            let held = shared.folder.hold()?;
            let lock = held.pin(entry)?;
            let mut state = shared.state();
            if let Some(lock) = lock {
                state.failed.remove(&index);
                *state.pins.entry(index).or_default() += 1;
                let pin = Pin {
                    shared: shared.clone(),
                    index,
                    lock: Some(lock),
                };
                return Ok(OpenShard::pinned(path.clone(), pin));
            }
            if let Some(error) = state.failed.remove(&index)
                && has_waited
            {
                return Err(error);
            }
            if !state.coming.contains_key(&index) {
                match held.claim(entry)? {
                    Claim::Won(lock) => self.start(&mut state, index, lock),
                    Claim::NoRoom => {
                        shared.check_own_pins(&state, entry)?;
                        if !reported && started.elapsed() > LONG {
                            reported = true;
                            tracing::warn!(
                                source = shared.source,
                                file = %path.display(),
                                "the cache is full of files that other readers use; waiting for them"
                            );
                        }
                    }
                    Claim::Taken => {}
                }
            }
            has_waited |= state.coming.contains_key(&index);
            drop(held);
            let waited = shared.changed.wait_timeout(state, poll);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            poll = (poll * 2).min(POLL[1]);
        }
    }

    fn prefetch(&self, index: usize) {
        // The file is fetched again when it is opened, and a failure is reported then.
        let _ = self.try_prefetch(index);
    }
}

impl ShardCache {
    fn try_prefetch(&self, index: usize) -> Result<()> {
        let shared = &self.shared;
        let Some(entry) = shared.entries.get(index) else {
            return Ok(());
        };
        let known = |state: &State| state.coming.contains_key(&index) || state.failed.contains_key(&index);
        let is_known = known(&shared.state());
        if is_known || !shared.prefetches || entry.is_whole() {
            return Ok(());
        }
        let held = shared.folder.hold()?;
        if let Claim::Won(lock) = held.claim(entry)? {
            self.start(&mut shared.state(), index, lock);
        }
        Ok(())
    }

    /// Downloads a claimed file, for which there is room, in the background.
    fn start(&self, state: &mut State, index: usize, lock: File) {
        let mut download = Download {
            shared: self.shared.clone(),
            index,
            lock: Some(lock),
            result: None,
        };
        let task = self.shared.client.spawn(async move {
            download.result = Some(download.shared.download(index).await);
            drop(download);
        });
        state.coming.insert(index, task);
    }
}

/// A download in progress. Unless it succeeds, dropping it (by an abort too) removes the entry.
struct Download {
    shared: Arc<Shared>,
    index: usize,
    lock: Option<File>,
    /// `None` until the download has ended.
    result: Option<Result<()>>,
}

impl Drop for Download {
    fn drop(&mut self) {
        let shared = &self.shared;
        let (entry, lock) = (shared.entries.get(self.index), self.lock.take());
        if !matches!(self.result, Some(Ok(())))
            && let (Some(entry), Some(lock)) = (entry, lock)
            && let Ok(held) = shared.folder.hold()
        {
            // What cannot be removed counts as the entry's until it is claimed again or evicted.
            let _ = held.remove(entry, lock);
        }
        let mut state = shared.state();
        state.coming.remove(&self.index);
        if let Some(Err(error)) = self.result.take() {
            state.failed.insert(self.index, error);
        }
        drop(state);
        shared.changed.notify_all();
    }
}

impl Drop for ShardCache {
    /// Aborts downloads in progress, and waits until their locks are released and their partial files removed. Complete
    /// files stay for the next run.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.coming.values().for_each(AbortHandle::abort);
        while !state.coming.is_empty() {
            let waited = self.shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn download(&self, index: usize) -> Result<()> {
        if let (Some(bundle), Some(entry)) = (self.bundles.get(index), self.entries.get(index)) {
            let path = self.folder.path_of(&entry.key, bundle.base());
            for (file, path) in bundle.files(&path) {
                self.client
                    .download_async(&self.source, file, &path, &|_| {})
                    .await?;
            }
        }
        Ok(())
    }

    /// Fails if this handle's own pins leave too little room, so that waiting cannot help.
    fn check_own_pins(&self, state: &State, wanted: &Entry) -> Result<()> {
        let pinned = state.pins.keys().filter_map(|index| self.entries.get(*index));
        let needed = pinned.fold(wanted.bytes, |sum, entry| sum.saturating_add(entry.bytes));
        if needed <= self.folder.most_bytes() {
            return Ok(());
        }
        let bytes = self.folder.most_bytes();
        let problem = format!(
            "the cache of {bytes} bytes is full of files in use; raise its size to hold all that are open at once"
        );
        Err(CorpusError::source(&self.source, problem))
    }
}
