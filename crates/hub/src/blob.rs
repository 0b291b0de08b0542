//! Downloads one file into the cache: locked, resumable, in ranges, verified.
//!
//! Several ranges are fetched at a time and appended in order, so `ETAG.incomplete` is always a prefix of the file. After a
//! kill, its length is where to continue, for us and for Python's library alike. The cost is the memory of the ranges in
//! flight. The hash is updated as bytes are appended; a prefix found on disk is read once.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use smollm3_corpus::remote::Attempts;
use smollm3_files::io;
use smollm3_files::locked_file::open_locked;

use crate::api::{Api, Asked, FileInfo, Part, Trouble, after};
use crate::cache::{Cache, create_parent};
use crate::error::{HubError, Result};

/// Bytes of a range.
const RANGE: u64 = 16 << 20;

/// Maximum number of ranges of a file in flight.
const AT_ONCE: usize = 4;

/// How often the lock of another process is tried.
const POLL: Duration = Duration::from_millis(200);

/// Called with the number of bytes that were written; `false` stops the transfer.
pub(crate) type Kept<'a> = dyn Fn(u64) -> bool + 'a;

/// Downloads a file into the cache unless it is there; returns the number of bytes downloaded.
pub(crate) async fn fetch(api: &Api<'_>, cache: &Cache, file: &FileInfo, kept: &Kept<'_>) -> Result<u64> {
    let blob = cache.blob(&file.etag);
    let lock_path = cache.lock(&file.etag);
    create_parent(&blob)?;
    create_parent(&lock_path)?;
    let mut reported = false;
    let _lock = loop {
        if let Some(lock) = open_locked(&lock_path).map_err(io("lock", &lock_path))? {
            break lock;
        }
        if !reported {
            tracing::info!(
                file = file.name,
                "waiting for another process that is fetching it"
            );
            reported = true;
        }
        proceed(kept(0))?;
        tokio::time::sleep(POLL).await;
    };
    if is_whole(&blob, file) {
        return proceed(kept(file.bytes)).map(|()| 0);
    }
    let draft = blob.with_file_name(format!("{}.incomplete", file.etag));
    let transfer = Transfer { api, file, kept };
    let Done { before, mut problem } = transfer.write_draft(&draft).await?;
    if before > 0
        && let Some(found) = &problem
    {
        // What another program left was not a prefix of this file.
        tracing::warn!(
            file = file.name,
            problem = found,
            "fetching it again from its first byte"
        );
        fs::remove_file(&draft).map_err(io("remove", &draft))?;
        let kept = &|_| kept(0);
        problem = Transfer { kept, ..transfer }.write_draft(&draft).await?.problem;
    }
    if let Some(problem) = problem {
        fs::remove_file(&draft).map_err(io("remove", &draft))?;
        let file = file.name.clone();
        return Err(HubError::Damaged { file, problem });
    }
    match fs::rename(&draft, &blob) {
        // Locks do not hold on some cluster file systems: another process has written the same bytes first.
        Err(_) if is_whole(&blob, file) => Ok(0),
        done => {
            done.map_err(io("write", &blob))?;
            Ok(file.bytes - before)
        }
    }
}

fn is_whole(blob: &Path, file: &FileInfo) -> bool {
    fs::metadata(blob).is_ok_and(|found| found.len() == file.bytes)
}

struct Transfer<'a> {
    api: &'a Api<'a>,
    file: &'a FileInfo,
    kept: &'a Kept<'a>,
}

/// A complete draft.
struct Done {
    /// Bytes that were there already.
    before: u64,
    /// Why it is not the file.
    problem: Option<String>,
}

impl Transfer<'_> {
    async fn write_draft(&self, draft: &Path) -> Result<Done> {
        let mut output = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(draft)
            .map_err(io("create", draft))?;
        let mut hash = Hash::of(self.file);
        let mut have = hash.read(&mut output).map_err(io("read", draft))?;
        if have > self.file.bytes {
            output
                .set_len(0)
                .and_then(|()| output.rewind())
                .map_err(io("write", draft))?;
            (have, hash) = (0, Hash::of(self.file));
        }
        proceed((self.kept)(have))?;

        let mut parts = stream::iter(ranges(have, self.file.bytes))
            .map(|(from, to)| async move { self.api.range(self.file, from, to).await })
            .buffered(AT_ONCE);
        let mut whole = false;
        while let Some(part) = parts.next().await {
            match part? {
                Part::Bytes(bytes) => self.append(&mut output, &mut hash, &bytes, draft)?,
                Part::NoRanges => {
                    whole = true;
                    break;
                }
            }
        }
        drop(parts);
        if whole {
            self.whole(&mut output, &mut hash, draft).await?;
        }
        output.sync_all().map_err(io("write", draft))?;
        Ok(Done {
            before: have,
            problem: hash.differs(self.file),
        })
    }

    fn append(&self, output: &mut File, hash: &mut Hash, bytes: &[u8], draft: &Path) -> Result<()> {
        output.write_all(bytes).map_err(io("write", draft))?;
        hash.update(bytes);
        proceed((self.kept)(bytes.len() as u64))
    }

    /// Fetches all of it from a server without ranges, skipping what is there already.
    async fn whole(&self, output: &mut File, hash: &mut Hash, draft: &Path) -> Result<()> {
        let mut attempts = Attempts::new(self.api.remote.policy());
        let before = hash.bytes;
        while hash.bytes < self.file.bytes {
            let fault = match self.once(output, hash, draft).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Fault(fault)) => fault,
            };
            attempts.arrived(hash.bytes - before);
            after(&mut attempts, &self.api.fetching(self.file), fault).await?;
        }
        Ok(())
    }

    async fn once(&self, output: &mut File, hash: &mut Hash, draft: &Path) -> Asked<()> {
        let mut response = self.api.open(self.file, None).await?;
        let mut skip = hash.bytes;
        while let Some(chunk) = response.chunk().await? {
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            let bytes = chunk.get(skipped as usize..).unwrap_or_default();
            if hash.bytes + bytes.len() as u64 > self.file.bytes {
                return Err(self.file.too_long());
            }
            self.append(output, hash, bytes, draft)?;
        }
        match hash.bytes == self.file.bytes {
            true => Ok(()),
            false => Err(Trouble::passing(format!(
                "the connection ended after {} of {} bytes",
                hash.bytes, self.file.bytes
            ))),
        }
    }
}

fn proceed(go_on: bool) -> Result<()> {
    match go_on {
        true => Ok(()),
        false => Err(HubError::Interrupted),
    }
}

fn ranges(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let count = to.saturating_sub(from).div_ceil(RANGE);
    (0..count).map(move |number| {
        let begin = from + number * RANGE;
        (begin, (begin + RANGE).min(to))
    })
}

/// The hash of a git blob of this length, before its contents.
pub(crate) fn git_blob(bytes: u64) -> Context {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {bytes}\0").as_bytes());
    context
}

pub(crate) fn hex(context: Context) -> String {
    let digest = context.finish();
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash in an ETag, computed as bytes arrive.
struct Hash {
    context: Option<Context>,
    bytes: u64,
}

impl Hash {
    fn of(file: &FileInfo) -> Self {
        let is_hex = file.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let context = match file.etag.len() {
            64 if is_hex => Some(Context::new(&SHA256)),
            40 if is_hex => Some(git_blob(file.bytes)),
            // Another kind of server: only the size can be compared.
            _ => None,
        };
        Self { context, bytes: 0 }
    }

    /// Hashes a file to its end.
    fn read(&mut self, file: &mut File) -> std::io::Result<u64> {
        file.seek(SeekFrom::Start(0))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(self.bytes),
                count => self.update(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(context) = &mut self.context {
            context.update(bytes);
        }
    }

    fn differs(self, file: &FileInfo) -> Option<String> {
        if self.bytes != file.bytes {
            return Some(format!("{} of {} bytes arrived", self.bytes, file.bytes));
        }
        let found = hex(self.context?);
        (found != file.etag.to_ascii_lowercase())
            .then(|| format!("its hash is {found}, but the Hub announced {}", file.etag))
    }
}
