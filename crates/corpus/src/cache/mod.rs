//! Remote shards on local disk, within a bound, fetched ahead of their use.
//!
//! A shard that is asked for is downloaded unless it is there, and pinned while it is open; shards not in
//! use go, least recently used first, when room is needed. [`ShardCache::prefetch`] starts a download in
//! the background, so a reader that says what comes next never waits for a store that is fast enough.
//! Files stay between runs: their names hold a hash of address, version and size.
//!
//! Any number of processes share a folder, such as the ranks of a node: a shard comes once for all of them,
//! the bound holds over all, and what one of them reads stays in place. Where others use all the room, a
//! reader waits for them; so a reader should hold one shard at a time, and only while it reads.

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

/// How often it is looked whether another process is done: doubles from the first to the last.
const POLL: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(200)];

/// A wait for room that is longer than this is reported.
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
    /// Whether there is room for a file besides the one that is read.
    prefetches: bool,
    client: RemoteClient,
    /// Locked after the folder is held, never before.
    state: Mutex<State>,
    changed: Condvar,
}

/// What this handle does with the folder.
#[derive(Debug, Default)]
struct State {
    coming: HashMap<usize, AbortHandle>,
    failed: HashMap<usize, CorpusError>,
    /// How often each is open.
    pins: HashMap<usize, usize>,
}

/// Keeps a cached file in place while it lives.
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
            let problem = format!(
                "`{}` has {bytes} bytes, the cache holds {most_bytes}; raise its size to at least that, twice for \
                 prefetching",
                largest.main.shard.name
            );
            return Err(CorpusError::source(source, problem));
        }
        let folder = CacheFolder::create(folder.as_ref(), most_bytes)?;
        let entry = |bundle: &Bundle| {
            let key = bundle.key();
            let files = bundle.files(&folder.path_of(&key, bundle.base()));
            Entry {
                bytes: bundle.bytes(),
                files: files
                    .into_iter()
                    .map(|(file, path)| (path, file.shard.bytes))
                    .collect(),
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

    /// Bytes in the folder, downloads under way counted whole.
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
        let Some((entry, (path, _))) = shared
            .entries
            .get(index)
            .and_then(|entry| Some((entry, entry.files.last()?)))
        else {
            let problem = format!("it has no file {index}, it has {}", shared.entries.len());
            return Err(CorpusError::source(&shared.source, problem));
        };
        let (started, mut poll, mut reported) = (Instant::now(), POLL[0], false);
        loop {
            let held = shared.folder.hold()?;
            let lock = held.pin(entry)?;
            let mut state = shared.state();
            if let Some(lock) = lock {
                state.failed.remove(&index);
                *state.pins.entry(index).or_default() += 1;
                return Ok(OpenShard::pinned(
                    path.clone(),
                    Pin {
                        shared: shared.clone(),
                        index,
                        lock: Some(lock),
                    },
                ));
            }
            if let Some(error) = state.failed.remove(&index) {
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
            drop(held);
            let waited = shared.changed.wait_timeout(state, poll);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            poll = (poll * 2).min(POLL[1]);
        }
    }

    fn prefetch(&self, index: usize) {
        // What cannot be had now is reported when it is really needed.
        let _ = self.try_prefetch(index);
    }
}

impl ShardCache {
    fn try_prefetch(&self, index: usize) -> Result<()> {
        let shared = &self.shared;
        let Some(entry) = shared.entries.get(index) else {
            return Ok(());
        };
        let is_known = {
            let state = shared.state();
            state.coming.contains_key(&index) || state.failed.contains_key(&index)
        };
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
            is_whole: false,
            error: None,
        };
        let task = self.shared.client.spawn(async move {
            let result = download.shared.download(index).await;
            download.end(result);
        });
        state.coming.insert(index, task);
    }
}

/// A file that is coming. Whatever ends it gives back what it does not need: an abort too.
struct Download {
    shared: Arc<Shared>,
    index: usize,
    lock: Option<File>,
    is_whole: bool,
    error: Option<CorpusError>,
}

impl Download {
    fn end(&mut self, result: Result<()>) {
        self.is_whole = result.is_ok();
        self.error = result.err();
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let shared = &self.shared;
        let (entry, lock) = (shared.entries.get(self.index), self.lock.take());
        if let (false, Some(entry), Some(lock)) = (self.is_whole, entry, lock)
            && let Ok(held) = shared.folder.hold()
        {
            // What cannot be removed counts as the entry's until it is claimed again, or makes room.
            let _ = held.remove(entry, lock);
        }
        let mut state = shared.state();
        state.coming.remove(&self.index);
        if let Some(error) = self.error.take() {
            state.failed.insert(self.index, error);
        }
        drop(state);
        shared.changed.notify_all();
    }
}

impl Drop for ShardCache {
    /// Ends the downloads under way. When it returns their locks are given up and their unfinished files gone; whole
    /// files stay for the next run.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.coming.values().for_each(AbortHandle::abort);
        while !state.coming.is_empty() {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
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

    /// Waiting helps only while others use the room.
    fn check_own_pins(&self, state: &State, wanted: &Entry) -> Result<()> {
        let pinned = state.pins.keys().filter_map(|index| self.entries.get(*index));
        let needed = pinned.fold(wanted.bytes, |sum, entry| sum.saturating_add(entry.bytes));
        if needed <= self.folder.most_bytes() {
            return Ok(());
        }
        let problem = format!(
            "the cache of {} bytes is full of files in use; raise its size to hold all that are open at once",
            self.folder.most_bytes()
        );
        Err(CorpusError::source(&self.source, problem))
    }
}
