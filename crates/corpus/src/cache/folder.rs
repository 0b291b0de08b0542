//! The folder of a cache, shared by any number of processes.
//!
//! All state (the entries, their sizes, readers and last use) lies on disk and in file locks. So the bound holds over all
//! processes together, and a killed process leaves nothing that others would wait for.
//!
//! | file | what it is |
//! | --- | --- |
//! | `lock` | locked for the milliseconds in which a process reads and changes the folder |
//! | `KEY-name`, `KEY-name.index` | the files of an entry; `KEY` is 16 hexadecimal digits |
//! | `.KEY-name.partial` | a file of an entry that is being downloaded |
//! | `KEY.BYTES.lock` | the entry's lock: shared by its readers, exclusive during download and eviction. Its modification time is the entry's last use, `BYTES` its size |
//!
//! The lock of an entry is taken, and its file removed, only under `lock`. The cost is one listing of the folder for each
//! file fetched, two if others are evicted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use smollm3_files::locked_file::{open_locked, open_shared, wait_locked};
use smollm3_files::{io, list, remove_if_present};

use crate::error::Result;

const KEY_DIGITS: usize = 16;

/// A folder of at most `most_bytes` of entries.
#[derive(Debug)]
pub(super) struct CacheFolder {
    path: PathBuf,
    most_bytes: u64,
}

/// One entry, which may be absent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Room that it takes.
    pub(super) bytes: u64,
    /// Its files and their sizes.
    pub(super) files: Vec<(PathBuf, u64)>,
}

/// The folder under its lock.
#[derive(Debug)]
pub(super) struct HeldFolder<'a> {
    folder: &'a CacheFolder,
    _lock: File,
}

/// The outcome of a claim.
#[derive(Debug)]
pub(super) enum Claim {
    /// The entry's exclusive lock. All its bytes count from now on.
    Won(File),
    /// The entries in use leave too little room.
    NoRoom,
    /// The entry is complete, or another handle has locked it.
    Taken,
}

/// One entry of a listing, from any source.
#[derive(Debug)]
struct CacheEntry {
    bytes: u64,
    used_at: SystemTime,
    lock: Option<PathBuf>,
    files: Vec<PathBuf>,
}

impl CacheFolder {
    pub(super) fn create(path: &Path, most_bytes: u64) -> Result<Self> {
        fs::create_dir_all(path).map_err(io("create", path))?;
        let path = path.to_owned();
        Ok(CacheFolder { path, most_bytes })
    }

    pub(super) fn most_bytes(&self) -> u64 {
        self.most_bytes
    }

    /// The path of the file `base` of the entry `key`.
    pub(super) fn path_of(&self, key: &str, base: &str) -> PathBuf {
        self.path.join(format!("{key}-{base}"))
    }

    /// Locks the folder; waits for other processes and other handles of this one.
    pub(super) fn hold(&self) -> Result<HeldFolder<'_>> {
        let path = self.path.join("lock");
        let lock = wait_locked(&path).map_err(io("lock", &path))?;
        Ok(HeldFolder {
            folder: self,
            _lock: lock,
        })
    }

    fn lock_of(&self, entry: &Entry) -> PathBuf {
        self.path.join(format!("{}.{}.lock", entry.key, entry.bytes))
    }
}

impl Entry {
    /// Whether all files are complete. Reliable only under the folder's lock, or a lock on the entry.
    pub(super) fn is_whole(&self) -> bool {
        let whole =
            |(path, bytes): &(PathBuf, u64)| fs::metadata(path).is_ok_and(|found| found.len() == *bytes);
        self.files.iter().all(whole)
    }
}

impl HeldFolder<'_> {
    /// A lock that protects a complete entry from eviction; `None` if it is absent or being downloaded.
    pub(super) fn pin(&self, entry: &Entry) -> Result<Option<File>> {
        if !entry.is_whole() {
            return Ok(None);
        }
        let path = self.folder.lock_of(entry);
        let lock = open_shared(&path).map_err(io("lock", &path))?;
        if let Some(lock) = &lock {
            touch(lock, &path)?;
        }
        Ok(lock)
    }

    /// Claims an absent entry: makes room for it, and removes what a killed process left of it.
    ///
    /// An entry counts as soon as it has a lock. So room is made first, and a kill in between leaves the folder within its
    /// bound.
    pub(super) fn claim(&self, entry: &Entry) -> Result<Claim> {
        let path = self.folder.lock_of(entry);
        let lock = || open_locked(&path).map_err(io("lock", &path));
        let left = match path.try_exists().map_err(io("read", &path))? {
            true => match lock()? {
                None => return Ok(Claim::Taken),
                left => left,
            },
            false => None,
        };
        if entry.is_whole() {
            return Ok(Claim::Taken);
        }
        let mut found = self.list()?;
        if let Some(own) = found.remove(&entry.key) {
            own.files.iter().try_for_each(|path| remove_if_present(path))?;
        }
        if !self.make_room(found, entry.bytes)? {
            remove_if_present(&path)?;
            return Ok(Claim::NoRoom);
        }
        let Some(lock) = left.map_or_else(lock, |left| Ok(Some(left)))? else {
            return Ok(Claim::Taken);
        };
        touch(&lock, &path)?;
        Ok(Claim::Won(lock))
    }

    /// Removes an entry whose exclusive lock is `lock`.
    pub(super) fn remove(&self, entry: &Entry, lock: File) -> Result<()> {
        if let Some(found) = self.list()?.remove(&entry.key) {
            found.files.iter().try_for_each(|path| remove_if_present(path))?;
        }
        remove_if_present(&self.folder.lock_of(entry))?;
        drop(lock);
        Ok(())
    }

    /// Evicts unused entries of `found`, least recently used first, until `wanted` more bytes fit. `false`, and nothing is
    /// removed, if those in use leave too little room.
    fn make_room(&self, found: BTreeMap<String, CacheEntry>, wanted: u64) -> Result<bool> {
        let mut bytes = total(&found).saturating_add(wanted);
        let mut found: Vec<(String, CacheEntry)> = found.into_iter().collect();
        found.sort_by_key(|(_, entry)| entry.used_at);
        let mut idle = Vec::new();
        for (key, entry) in found {
            if bytes <= self.folder.most_bytes {
                break;
            }
            let lock = match &entry.lock {
                None => None,
                Some(path) => match open_locked(path).map_err(io("lock", path))? {
                    None => continue,
                    lock => lock,
                },
            };
            bytes -= entry.bytes;
            idle.push((key, lock));
        }
        if bytes > self.folder.most_bytes {
            return Ok(false);
        }
        if idle.is_empty() {
            return Ok(true);
        }
        // Listed again under their locks: a download may have ended since the first listing.
        let mut found = self.list()?;
        for (key, _lock) in idle {
            let Some(entry) = found.remove(&key) else { continue };
            // The lock file last: until then the rest counts.
            let mut files = entry.files.iter().chain(&entry.lock);
            files.try_for_each(|path| remove_if_present(path))?;
        }
        Ok(true)
    }

    /// Bytes of all entries, downloads in progress counted in full.
    pub(super) fn bytes(&self) -> Result<u64> {
        Ok(total(&self.list()?))
    }

    /// The entries by key. Files with other names do not belong to the cache.
    fn list(&self) -> Result<BTreeMap<String, CacheEntry>> {
        let mut found = BTreeMap::<String, CacheEntry>::new();
        for path in list(&self.folder.path)? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let Some((key, rest)) = name.as_deref().and_then(parse) else {
                continue;
            };
            let metadata = match fs::metadata(&path) {
                // A download has just renamed its partial file; that entry is locked.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.map_err(io("read", &path))?,
            };
            let used_at = metadata.modified().map_err(io("read the time of", &path))?;
            let entry = found.entry(key.to_owned()).or_insert(CacheEntry {
                bytes: 0,
                used_at: SystemTime::UNIX_EPOCH,
                lock: None,
                files: Vec::new(),
            });
            match rest {
                Rest::Lock(bytes) => {
                    (entry.bytes, entry.used_at, entry.lock) = (bytes, used_at, Some(path));
                }
                Rest::File => {
                    if entry.lock.is_none() {
                        entry.bytes += metadata.len();
                        entry.used_at = entry.used_at.max(used_at);
                    }
                    entry.files.push(path);
                }
            }
        }
        Ok(found)
    }
}

/// What follows the key in a file's name.
enum Rest {
    Lock(u64),
    File,
}

fn parse(name: &str) -> Option<(&str, Rest)> {
    let shown = name.strip_prefix('.').unwrap_or(name);
    let (key, rest) = shown.split_at_checked(KEY_DIGITS)?;
    if !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    if rest.starts_with('-') {
        return Some((key, Rest::File));
    }
    let bytes = rest.strip_prefix('.')?.strip_suffix(".lock")?.parse().ok()?;
    Some((key, Rest::Lock(bytes)))
}

fn total(found: &BTreeMap<String, CacheEntry>) -> u64 {
    found
        .values()
        .fold(0, |sum, entry| sum.saturating_add(entry.bytes))
}

/// Marks an entry as just used.
fn touch(lock: &File, path: &Path) -> Result<()> {
    Ok(lock.set_modified(SystemTime::now()).map_err(io("write", path))?)
}
