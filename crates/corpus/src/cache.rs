//! Remote shards on local disk, within a bound, fetched ahead of their use.
//!
//! A shard that is asked for is downloaded unless it is there, and pinned while it is open; shards not in
//! use go, least recently used first, when room is needed. [`ShardCache::prefetch`] starts a download in
//! the background, so a reader that says what comes next never waits for a store that is fast enough.
//! Files stay between runs: their names hold a hash of address, version and size.
//!
//! A folder belongs to one process at a time, which a lock file sees to.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::error::{CorpusError, Result};
use crate::locked_file::open_locked;
use crate::remote::{RemoteClient, RemoteFile};
use crate::shards::{OpenShard, Shard, Shards};

/// A remote file and what must lie beside it on disk: it comes and goes as one.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The file that is opened.
    pub main: RemoteFile,
    /// Others, under the first one's name and these suffixes (`.index`).
    pub beside: Vec<(String, RemoteFile)>,
}

impl From<RemoteFile> for Bundle {
    fn from(main: RemoteFile) -> Self {
        let beside = Vec::new();
        Bundle { main, beside }
    }
}

impl Bundle {
    fn bytes(&self) -> u64 {
        self.main.shard.bytes + self.beside.iter().map(|(_, file)| file.shard.bytes).sum::<u64>()
    }

    /// Each file with the path it has when the main one has `path`. The main one comes last: while it is
    /// missing the bundle is.
    fn files(&self, path: &Path) -> Vec<(&RemoteFile, PathBuf)> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let mut files: Vec<_> = self
            .beside
            .iter()
            .map(|(suffix, file)| (file, beside(suffix)))
            .collect();
        files.push((&self.main, path.to_owned()));
        files
    }
}

/// A bounded folder of remote files.
#[derive(Debug)]
pub struct ShardCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: String,
    folder: PathBuf,
    most_bytes: u64,
    bundles: Vec<Bundle>,
    shards: Vec<Shard>,
    client: RemoteClient,
    state: Mutex<State>,
    changed: Condvar,
    /// Held locked as long as the cache lives.
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<usize, Entry>,
    /// Bytes on disk or promised to downloads.
    bytes: u64,
    clock: u64,
    downloads: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Entry {
    stage: Stage,
    pins: usize,
    used_at: u64,
}

#[derive(Debug)]
enum Stage {
    Coming,
    There,
    Failed(CorpusError),
}

/// Keeps a cached file in place while it lives.
#[derive(Debug)]
pub struct Pin {
    shared: Arc<Shared>,
    index: usize,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(entry) = state.entries.get_mut(&self.index) {
            entry.pins -= 1;
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl ShardCache {
    /// A cache of at most `most_bytes` in `folder` for the files of a source.
    ///
    /// # Errors
    /// A file larger than the whole cache, a folder that cannot be written, or one another process uses.
    pub fn open(
        source: &str,
        folder: impl AsRef<Path>,
        most_bytes: u64,
        files: Vec<impl Into<Bundle>>,
        client: RemoteClient,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        let bundles: Vec<Bundle> = files.into_iter().map(Into::into).collect();
        if let Some(largest) = bundles.iter().max_by_key(|bundle| bundle.bytes())
            && largest.bytes() > most_bytes
        {
            let problem = format!(
                "`{}` has {} bytes, the cache holds {most_bytes}; raise its size to at least that, twice for \
                 prefetching",
                largest.main.shard.name,
                largest.bytes()
            );
            return Err(CorpusError::source(source, problem));
        }
        fs::create_dir_all(folder).map_err(CorpusError::io("create", folder))?;
        let lock_path = folder.join("lock");
        let Some(lock) = open_locked(&lock_path).map_err(CorpusError::io("open", &lock_path))? else {
            let problem = "another process uses this cache; give each process its own folder";
            return Err(CorpusError::store(folder, problem));
        };
        let whole = |bundle: &Bundle| Shard {
            bytes: bundle.bytes(),
            ..bundle.main.shard.clone()
        };
        let shards = bundles.iter().map(whole).collect();
        let shared = Shared {
            source: source.to_owned(),
            folder: folder.to_owned(),
            most_bytes,
            bundles,
            shards,
            client,
            state: Mutex::default(),
            changed: Condvar::new(),
            _lock: lock,
        };
        shared.take_stock()?;
        Ok(ShardCache {
            shared: Arc::new(shared),
        })
    }

    /// Bytes on disk, downloads under way counted whole.
    pub fn bytes(&self) -> u64 {
        self.shared.state().bytes
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
        let path = shared.path(index).ok_or_else(|| {
            CorpusError::source(
                &shared.source,
                format!("it has no file {index}, it has {}", shared.bundles.len()),
            )
        })?;
        let mut state = shared.state();
        loop {
            let now = state.tick();
            let failed = matches!(
                state.entries.get(&index),
                Some(Entry {
                    stage: Stage::Failed(_),
                    ..
                })
            );
            if failed
                && let Some(Entry {
                    stage: Stage::Failed(error),
                    ..
                }) = state.entries.remove(&index)
            {
                return Err(error);
            }
            if let Some(entry) = state.entries.get_mut(&index) {
                if matches!(entry.stage, Stage::There) {
                    entry.pins += 1;
                    entry.used_at = now;
                    return Ok(OpenShard::pinned(
                        path,
                        Pin {
                            shared: shared.clone(),
                            index,
                        },
                    ));
                }
            } else if shared.reserve(&mut state, index)? {
                self.start(&mut state, index);
            } else if !state.coming() {
                let problem = format!(
                    "the cache of {} bytes is full of files in use; raise its size to hold all that are open at once",
                    shared.most_bytes
                );
                return Err(CorpusError::source(&shared.source, problem));
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn prefetch(&self, index: usize) {
        let mut state = self.shared.state();
        if index < self.shared.bundles.len() && !state.entries.contains_key(&index) {
            // What cannot be had now is reported when it is really needed.
            if self.shared.reserve(&mut state, index).unwrap_or(false) {
                self.start(&mut state, index);
            }
        }
    }
}

impl ShardCache {
    /// Downloads a file for which room is reserved, in the background.
    fn start(&self, state: &mut State, index: usize) {
        let shared = self.shared.clone();
        let client = shared.client.clone();
        let task = client.spawn(async move {
            let result = shared.download(index).await;
            let mut state = shared.state();
            let bytes = shared.shards.get(index).map_or(0, |shard| shard.bytes);
            match result {
                Ok(()) => {
                    let now = state.tick();
                    if let Some(entry) = state.entries.get_mut(&index) {
                        (entry.stage, entry.used_at) = (Stage::There, now);
                    }
                }
                Err(error) => {
                    state.bytes -= bytes;
                    if let Some(entry) = state.entries.get_mut(&index) {
                        entry.stage = Stage::Failed(error);
                    }
                }
            }
            drop(state);
            shared.changed.notify_all();
        });
        state.downloads.retain(|download| !download.is_finished());
        state.downloads.push(task);
    }
}

impl Drop for ShardCache {
    fn drop(&mut self) {
        // Unfinished files go with their tasks; whole ones stay for the next run.
        self.shared.state().downloads.iter().for_each(AbortHandle::abort);
    }
}

impl State {
    fn coming(&self) -> bool {
        self.entries
            .values()
            .any(|entry| matches!(entry.stage, Stage::Coming))
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        let bundle = self.bundles.get(index)?;
        let mut hasher = blake3::Hasher::new();
        for (file, _) in bundle.files(Path::new("")) {
            let Shard { name, bytes, version } = &file.shard;
            hasher.update(format!("{name}\n{bytes}\n{version}\n").as_bytes());
        }
        let base = bundle.main.relative.rsplit('/').next().unwrap_or_default();
        let hash = hasher.finalize().to_hex();
        Some(
            self.folder
                .join(format!("{}-{base}", hash.get(..16).unwrap_or_default())),
        )
    }

    /// The files of a bundle and where they belong.
    fn files(&self, index: usize) -> Vec<(&RemoteFile, PathBuf)> {
        match (self.bundles.get(index), self.path(index)) {
            (Some(bundle), Some(path)) => bundle.files(&path),
            _ => Vec::new(),
        }
    }

    async fn download(&self, index: usize) -> Result<()> {
        for (file, path) in self.files(index) {
            let fetched = self
                .client
                .download_async(&self.source, file, &path, &|_| {})
                .await;
            if let Err(error) = fetched {
                // What came of the bundle is of no use and is not counted.
                self.remove(index)?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn remove(&self, index: usize) -> Result<()> {
        for (_, path) in self.files(index).into_iter().rev() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(CorpusError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts what earlier runs left; files of other lists and unfinished ones go.
    fn take_stock(&self) -> Result<()> {
        let mut state = self.state();
        let mut known = HashSet::new();
        for index in 0..self.bundles.len() {
            let files = self.files(index);
            let bytes = self.shards.get(index).map_or(0, |shard| shard.bytes);
            let there = |(file, path): &(&RemoteFile, PathBuf)| {
                fs::metadata(path).is_ok_and(|found| found.len() == file.shard.bytes)
            };
            if files.iter().all(there) && state.bytes + bytes <= self.most_bytes {
                state.bytes += bytes;
                state.entries.insert(
                    index,
                    Entry {
                        stage: Stage::There,
                        pins: 0,
                        used_at: 0,
                    },
                );
                known.extend(files.into_iter().map(|(_, path)| path));
            }
        }
        for entry in fs::read_dir(&self.folder).map_err(CorpusError::io("list", &self.folder))? {
            let path = entry.map_err(CorpusError::io("list", &self.folder))?.path();
            if is_ours(&path) && !known.contains(&path) {
                fs::remove_file(&path).map_err(CorpusError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Makes room for a file and enters it as coming; `false` where what is in use leaves none.
    fn reserve(&self, state: &mut State, index: usize) -> Result<bool> {
        let bytes = self.shards.get(index).map_or(0, |shard| shard.bytes);
        while state.bytes + bytes > self.most_bytes {
            let idle = state
                .entries
                .iter()
                .filter(|(_, entry)| entry.pins == 0 && matches!(entry.stage, Stage::There));
            let Some(oldest) = idle
                .min_by_key(|(_, entry)| entry.used_at)
                .map(|(index, _)| *index)
            else {
                return Ok(false);
            };
            self.remove(oldest)?;
            state.entries.remove(&oldest);
            state.bytes -= self.shards.get(oldest).map_or(0, |shard| shard.bytes);
        }
        state.bytes += bytes;
        let used_at = state.tick();
        state.entries.insert(
            index,
            Entry {
                stage: Stage::Coming,
                pins: 0,
                used_at,
            },
        );
        Ok(true)
    }
}

/// Whether a file in the folder has a name this cache gives: 16 hexadecimal digits and a dash, hidden
/// while it is coming.
fn is_ours(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = name.strip_prefix('.').unwrap_or(&name);
    name.get(..16)
        .is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        && name.get(16..17) == Some("-")
}
