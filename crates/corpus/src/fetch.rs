//! `data fetch`: remote sources to local disk, a few files at a time, each complete or absent.
//!
//! `fetched.json` in the folder records the version of each finished file, so that a repeated call fetches only what is
//! missing or changed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use smollm3_files::atomic_file::write_json;
use smollm3_files::read_if_present;

use crate::error::{CorpusError, Result};
use crate::remote::{RemoteClient, RemoteFile};
use crate::shards::Shard;

const RECORD: &str = "fetched.json";

/// Concurrent downloads.
const AT_ONCE: usize = 4;

/// Progress of a fetch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// Files present.
    pub files: u64,
    /// Files in all.
    pub of_files: u64,
    /// Bytes present.
    pub bytes: u64,
    /// Bytes in all.
    pub of_bytes: u64,
}

/// Downloads `files` of `source` into `folder`, under their relative names; files whose relative names are the same, under
/// as many folders of their addresses as tell them apart. `progress` is called as bytes arrive, from several threads; if it
/// returns `false`, the fetch stops after the current files.
///
/// # Errors
/// As [`RemoteClient::download`], or [`CorpusError::Interrupted`]; finished files stay. Two files that would have the same
/// path; nothing is downloaded.
pub fn fetch(
    source: &str,
    files: &[RemoteFile],
    folder: &Path,
    client: &RemoteClient,
    progress: &(dyn Fn(FetchProgress) -> bool + Sync),
) -> Result<FetchProgress> {
    let record = read_record(folder)?;
    let mut missing = Vec::new();
    for (file, name) in files.iter().zip(distinct_names(source, files)?) {
        let target = target(source, folder, &name)?;
        let present = record.get(&name) == Some(&file.shard)
            && fs::metadata(&target).is_ok_and(|found| found.len() == file.shard.bytes);
        missing.extend((!present).then_some((file, name, target)));
    }
    let record = Mutex::new(record);
    let of_bytes: u64 = files.iter().map(|file| file.shard.bytes).sum();
    let missing_bytes: u64 = missing.iter().map(|(file, ..)| file.shard.bytes).sum();
    let bytes = AtomicU64::new(of_bytes - missing_bytes);
    let done = AtomicU64::new((files.len() - missing.len()) as u64);
    let now = || FetchProgress {
        files: done.load(Ordering::Relaxed),
        of_files: files.len() as u64,
        bytes: bytes.load(Ordering::Relaxed),
        of_bytes,
    };

    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(!progress(now())));
    let failure = Mutex::new(None);
    let worker = || {
        while !stop.load(Ordering::Relaxed)
            && let Some((file, name, target)) = missing.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let counted = |more| {
                bytes.fetch_add(more, Ordering::Relaxed);
                if !progress(now()) {
                    stop.store(true, Ordering::Relaxed);
                }
            };
            let fetched = client.download(source, file, target, &counted).and_then(|()| {
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                record.insert(name.clone(), file.shard.clone());
                Ok(write_json(&folder.join(RECORD), &*record)?)
            });
            match fetched {
                Ok(()) => _ = done.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
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

/// The name of each file below the folder, no two the same.
fn distinct_names(source: &str, files: &[RemoteFile]) -> Result<Vec<String>> {
    let mut names: Vec<String> = files.iter().map(|file| file.relative.clone()).collect();
    loop {
        let shared = shared_names(&names);
        let Some(first) = names.iter().find(|name| shared.contains(*name)) else {
            return Ok(names);
        };
        let longer = |(file, name): (&RemoteFile, &String)| match shared.contains(name) {
            true => with_folder(&file.shard.name, name),
            false => name.clone(),
        };
        let longer: Vec<String> = files.iter().zip(&names).map(longer).collect();
        if longer == names {
            let same = files.iter().zip(&names).filter(|(_, name)| *name == first);
            let same: Vec<String> = same.map(|(file, _)| format!("`{}`", file.shard.name)).collect();
            let same = same.join(" and ");
            let problem = format!("{same} have the same name; fetch each to its own folder");
            return Err(CorpusError::source(source, problem));
        }
        names = longer;
    }
}

/// Those that stand more than once in `names`.
fn shared_names(names: &[String]) -> HashSet<String> {
    let mut seen = HashSet::new();
    names.iter().filter(|name| !seen.insert(*name)).cloned().collect()
}

/// `name`, the end of `address`, with one more folder of the address; unchanged if there is none.
fn with_folder(address: &str, name: &str) -> String {
    let path = address.replacen("://", "/", 1);
    let folders = path.strip_suffix(name).and_then(|rest| rest.strip_suffix('/'));
    let folder = folders.and_then(|folders| folders.rsplit('/').next());
    folder.map_or(name.to_owned(), |folder| format!("{folder}/{name}"))
}

/// The local path of a file. A listing is untrusted: its names must not lead out of the folder.
fn target(source: &str, folder: &Path, name: &str) -> Result<PathBuf> {
    let mut parts = Path::new(name).components();
    let inside = parts.all(|part| matches!(part, Component::Normal(_)));
    if !inside || name.is_empty() || name == RECORD {
        let problem = format!("`{name}` cannot be the name of a file in `{}`", folder.display());
        return Err(CorpusError::source(source, problem));
    }
    Ok(folder.join(name))
}

fn read_record(folder: &Path) -> Result<BTreeMap<String, Shard>> {
    let text = read_if_present(&folder.join(RECORD))?;
    // An unreadable record only costs a download.
    Ok(text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default())
}
