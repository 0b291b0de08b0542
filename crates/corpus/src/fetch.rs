//! `data fetch`: remote sources to local disk.
//!
//! A few files at a time, each whole or absent. `fetched.json` in the folder records the version of every
//! finished file, so the same call again fetches only what is missing or changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use smollm3_files::atomic_file::write_atomically;

use crate::error::{CorpusError, Result};
use crate::remote::{RemoteClient, RemoteFile};
use crate::shards::Shard;

const RECORD: &str = "fetched.json";

/// Downloads under way at once.
const AT_ONCE: usize = 4;

/// How far a fetch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// Files there.
    pub files: u64,
    /// Files in all.
    pub of_files: u64,
    /// Bytes there.
    pub bytes: u64,
    /// Bytes in all.
    pub of_bytes: u64,
}

/// Brings `files` of `source` below `folder`, under their relative names. `progress` is called as
/// bytes come, from several threads; `false` from it stops after the files under way.
///
/// # Errors
/// As [`RemoteClient::download`], or [`CorpusError::Interrupted`]; finished files stay.
pub fn fetch(
    source: &str,
    files: &[RemoteFile],
    folder: &Path,
    client: &RemoteClient,
    progress: &(dyn Fn(FetchProgress) -> bool + Sync),
) -> Result<FetchProgress> {
    let targets = files
        .iter()
        .map(|file| target(source, folder, file))
        .collect::<Result<Vec<_>>>()?;
    let record = Mutex::new(read_record(folder)?);
    let is_there = |index: usize| {
        let (Some(file), Some(target)) = (files.get(index), targets.get(index)) else {
            return false;
        };
        let record = record.lock().unwrap_or_else(PoisonError::into_inner);
        record.get(&file.relative) == Some(&file.shard)
            && fs::metadata(target).is_ok_and(|found| found.len() == file.shard.bytes)
    };

    let missing: Vec<usize> = (0..files.len()).filter(|index| !is_there(*index)).collect();
    let of_bytes: u64 = files.iter().map(|file| file.shard.bytes).sum();
    let to_come: u64 = missing
        .iter()
        .filter_map(|index| files.get(*index))
        .map(|file| file.shard.bytes)
        .sum();
    let (bytes, done) = (
        AtomicU64::new(of_bytes - to_come),
        AtomicU64::new((files.len() - missing.len()) as u64),
    );
    let now = || FetchProgress {
        files: done.load(Ordering::Relaxed),
        of_files: files.len() as u64,
        bytes: bytes.load(Ordering::Relaxed),
        of_bytes,
    };

    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(!progress(now())));
    let failure = Mutex::new(None);
    let worker = || {
        while !stop.load(Ordering::Relaxed)
            && let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed) as usize)
            && let (Some(file), Some(target)) = (files.get(*index), targets.get(*index))
        {
            let counted = |more| {
                bytes.fetch_add(more, Ordering::Relaxed);
                if !progress(now()) {
                    stop.store(true, Ordering::Relaxed);
                }
            };
            let fetched = client.download(source, file, target, &counted).and_then(|()| {
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                record.insert(file.relative.clone(), file.shard.clone());
                write_record(folder, &record)
            });
            match fetched {
                Ok(()) => {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(missing.len()) {
            scope.spawn(worker);
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if done.load(Ordering::Relaxed) < files.len() as u64 {
        return Err(CorpusError::Interrupted);
    }
    progress(now());
    Ok(now())
}

/// Where a file goes. A listing is foreign data: its names must not lead out of the folder.
fn target(source: &str, folder: &Path, file: &RemoteFile) -> Result<PathBuf> {
    let relative = Path::new(&file.relative);
    let inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !inside || file.relative.is_empty() || file.relative == RECORD {
        let problem = format!(
            "`{}` cannot be the name of a file in `{}`",
            file.relative,
            folder.display()
        );
        return Err(CorpusError::source(source, problem));
    }
    Ok(folder.join(relative))
}

fn read_record(folder: &Path) -> Result<BTreeMap<String, Shard>> {
    let path = folder.join(RECORD);
    match fs::read_to_string(&path) {
        // An unreadable record costs a download, nothing else.
        Ok(text) => Ok(serde_json::from_str(&text).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(CorpusError::io("read", &path)(error)),
    }
}

fn write_record(folder: &Path, record: &BTreeMap<String, Shard>) -> Result<()> {
    let path = folder.join(RECORD);
    let text =
        serde_json::to_string_pretty(record).map_err(|error| CorpusError::store(&path, error.to_string()))?;
    Ok(write_atomically(&path, text.as_bytes())?)
}
