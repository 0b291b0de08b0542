//! The folder of a cache, which any number of processes share.
//!
//! Which entries there are, how much room they take, who reads them and which was used last: all of it lies on disk
//! and in file locks. So the bound holds over all processes together, and one that is killed leaves nothing that
//! others would have to wait for.
//!
//! | file | what it is |
//! | --- | --- |
//! | `lock` | locked while one process looks at the folder and changes it, which takes milliseconds |
//! | `KEY-name`, `KEY-name.index` | the files of an entry; `KEY` is 16 hexadecimal digits |
//! | `.KEY-name.partial` | a file of an entry that is being downloaded |
//! | `KEY.BYTES.lock` | the entry's lock: shared by its readers, exclusive while it comes or goes. Its time of change is the entry's last use, `BYTES` the room that the entry takes |
//!
//! The lock of an entry is only taken, and its file only removed, by whoever holds `lock`. The price is one listing
//! of the folder for each file that is fetched, two where others have to go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use smollm3_files::locked_file::{open_locked, open_shared, wait_locked};

use crate::error::{CorpusError, Result};

const KEY_DIGITS: usize = 16;

/// A folder of entries that take at most `most_bytes`.
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

/// The folder while no other process changes it.
#[derive(Debug)]
pub(super) struct HeldFolder<'a> {
    folder: &'a CacheFolder,
    _lock: File,
}

/// What came of a claim.
#[derive(Debug)]
pub(super) enum Claim {
    /// The entry's exclusive lock. It counts with all its bytes from now on.
    Won(File),
    /// What is in use takes too much.
    NoRoom,
    /// The entry is there after all, or another handle has a lock on it.
    Taken,
}

/// What a listing says of one entry, whoever made it.
#[derive(Debug)]
struct Found {
    bytes: u64,
    used_at: SystemTime,
    lock: Option<PathBuf>,
    files: Vec<PathBuf>,
}

impl CacheFolder {
    pub(super) fn create(path: &Path, most_bytes: u64) -> Result<Self> {
        fs::create_dir_all(path).map_err(CorpusError::io("create", path))?;
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

    /// Waits until no other process, and no other handle of this one, holds the folder.
    pub(super) fn hold(&self) -> Result<HeldFolder<'_>> {
        let path = self.path.join("lock");
        let lock = wait_locked(&path).map_err(CorpusError::io("lock", &path))?;
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
    /// Whether all files are whole. Only reliable for who holds the folder, or a lock on the entry.
    pub(super) fn is_whole(&self) -> bool {
        let whole =
            |(path, bytes): &(PathBuf, u64)| fs::metadata(path).is_ok_and(|found| found.len() == *bytes);
        self.files.iter().all(whole)
    }
}

impl HeldFolder<'_> {
    /// A lock that keeps a whole entry in place; `None` if it is not there or still comes.
    pub(super) fn pin(&self, entry: &Entry) -> Result<Option<File>> {
        if !entry.is_whole() {
            return Ok(None);
        }
        let path = self.folder.lock_of(entry);
        let lock = open_shared(&path).map_err(CorpusError::io("lock", &path))?;
        if let Some(lock) = &lock {
            touch(lock, &path)?;
        }
        Ok(lock)
    }

    /// Claims an absent entry: room is made for it, and what a killed process left of it goes.
    ///
    /// An entry counts as soon as it has a lock; so room comes first, and a process that is killed in between leaves the
    /// folder within its bound.
    pub(super) fn claim(&self, entry: &Entry) -> Result<Claim> {
        let path = self.folder.lock_of(entry);
        let lock = || open_locked(&path).map_err(CorpusError::io("lock", &path));
        let left = match path.try_exists().map_err(CorpusError::io("read", &path))? {
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
            own.files.iter().try_for_each(|path| remove(path))?;
        }
        if !self.make_room(found, entry.bytes)? {
            remove(&path)?;
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
            found.files.iter().try_for_each(|path| remove(path))?;
        }
        remove(&self.folder.lock_of(entry))?;
        drop(lock);
        Ok(())
    }

    /// Removes some of `found` that nobody uses, least recently used first, until `wanted` bytes fit beside the others;
    /// `false`, and nothing is removed, where those in use take too much.
    fn make_room(&self, found: BTreeMap<String, Found>, wanted: u64) -> Result<bool> {
        let mut bytes = total(&found).saturating_add(wanted);
        let mut found: Vec<(String, Found)> = found.into_iter().collect();
        found.sort_by_key(|(_, entry)| entry.used_at);
        let mut idle = Vec::new();
        for (key, entry) in found {
            if bytes <= self.folder.most_bytes {
                break;
            }
            let lock = match &entry.lock {
                None => None,
                Some(path) => match open_locked(path).map_err(CorpusError::io("lock", path))? {
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
        // Listed again under their locks: a download may have named its file after the first listing, and ended.
        let mut found = self.list()?;
        for (key, _lock) in idle {
            let Some(entry) = found.remove(&key) else { continue };
            // The lock's file last: until then what is left counts.
            let mut files = entry.files.iter().chain(&entry.lock);
            files.try_for_each(|path| remove(path))?;
        }
        Ok(true)
    }

    /// Bytes of all entries, those that still come counted whole.
    pub(super) fn bytes(&self) -> Result<u64> {
        Ok(total(&self.list()?))
    }

    /// The entries by key. Files with other names are none of the cache's.
    fn list(&self) -> Result<BTreeMap<String, Found>> {
        let folder = &self.folder.path;
        let mut found = BTreeMap::<String, Found>::new();
        for file in fs::read_dir(folder).map_err(CorpusError::io("list", folder))? {
            let path = file.map_err(CorpusError::io("list", folder))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let Some((key, rest)) = name.as_deref().and_then(parse) else {
                continue;
            };
            let metadata = match fs::metadata(&path) {
                // A download gave a partial file its name meanwhile; that entry is locked.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.map_err(CorpusError::io("read", &path))?,
            };
            let used_at = metadata
                .modified()
                .map_err(CorpusError::io("read the time of", &path))?;
            let entry = found.entry(key.to_owned()).or_insert(Found {
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

fn total(found: &BTreeMap<String, Found>) -> u64 {
    found
        .values()
        .fold(0, |sum, entry| sum.saturating_add(entry.bytes))
}

/// Says that an entry has been used.
fn touch(lock: &File, path: &Path) -> Result<()> {
    lock.set_modified(SystemTime::now())
        .map_err(CorpusError::io("write", path))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CorpusError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
