//! One file into the cache: locked, resumed, in ranges, verified.
//!
//! Ranges are fetched several at a time and appended in order, so `ETAG.incomplete` is at every moment the beginning of the
//! file: after a kill its length says where to go on, Python's library can go on with ours and we with its. The price is
//! the memory of the ranges under way. The hash is computed as bytes are appended; what was there before is read once.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use smollm3_corpus::remote::{Attempts, Fault, RetryPolicy};
use smollm3_files::locked_file::open_locked;

use crate::api::{Api, FileInfo, Part, Trouble};
use crate::cache::{Cache, create_parent};
use crate::error::{HubError, Result, io};

/// Bytes of a range.
const RANGE: u64 = 16 << 20;

/// Ranges of a file under way at once.
const AT_ONCE: usize = 4;

/// How often a file that another process is fetching is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Told of bytes as they are kept; `false` stops the transfer.
pub(crate) type Kept<'a> = dyn Fn(u64) -> bool + 'a;

/// Brings a file into the cache, unless it is there; returns the bytes that it cost.
pub(crate) async fn fetch(
    api: &Api<'_>,
    cache: &Cache,
    file: &FileInfo,
    policy: &RetryPolicy,
    kept: &Kept<'_>,
) -> Result<u64> {
    let blob = cache.blob(&file.etag);
    let lock_path = cache.lock(&file.etag);
    create_parent(&blob)?;
    create_parent(&lock_path)?;
    let mut told = false;
    let _lock = loop {
        if let Some(lock) = open_locked(&lock_path).map_err(io("lock", &lock_path))? {
            break lock;
        }
        if !told {
            tracing::info!(file = file.name, "another process is fetching it; waiting");
            told = true;
        }
        proceed(kept(0))?;
        tokio::time::sleep(LOOK).await;
    };
    if is_whole(&blob, file) {
        return proceed(kept(file.bytes)).map(|()| 0);
    }
    let draft = blob.with_file_name(format!("{}.incomplete", file.etag));
    let resumed = Transfer {
        api,
        file,
        policy,
        kept,
    }
    .write_draft(&draft)
    .await?;
    if let Some(problem) = resumed.problem {
        fs::remove_file(&draft).map_err(io("remove", &draft))?;
        if resumed.before == 0 {
            return Err(HubError::Damaged {
                file: file.name.clone(),
                problem,
            });
        }
        // What another program left was no beginning of this file.
        tracing::warn!(
            file = file.name,
            problem,
            "fetching it once more, from its first byte"
        );
        let again = Transfer {
            api,
            file,
            policy,
            kept: &|_| kept(0),
        };
        if let Some(problem) = again.write_draft(&draft).await?.problem {
            fs::remove_file(&draft).map_err(io("remove", &draft))?;
            return Err(HubError::Damaged {
                file: file.name.clone(),
                problem,
            });
        }
    }
    match fs::rename(&draft, &blob) {
        // Where locks do not hold, as on some file systems of clusters: another process has written the same bytes, and was
        // quicker.
        Err(_) if is_whole(&blob, file) => Ok(0),
        done => done
            .map_err(io("write", &blob))
            .map(|()| file.bytes - resumed.before),
    }
}

fn is_whole(blob: &Path, file: &FileInfo) -> bool {
    fs::metadata(blob).is_ok_and(|found| found.len() == file.bytes)
}

struct Transfer<'a> {
    api: &'a Api<'a>,
    file: &'a FileInfo,
    policy: &'a RetryPolicy,
    kept: &'a Kept<'a>,
}

/// A draft with all its bytes.
struct Done {
    /// Bytes that were there before.
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

        let mut ends = stream::iter(ranges(have, self.file.bytes))
            .map(|(from, to)| async move { self.api.range(self.file, from, to).await })
            .buffered(AT_ONCE);
        let mut whole = false;
        while let Some(part) = ends.next().await {
            match part? {
                Part::Bytes(bytes) => self.append(&mut output, &mut hash, &bytes, draft)?,
                Part::NoRanges => {
                    whole = true;
                    break;
                }
            }
        }
        drop(ends);
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

    /// From a server without ranges: all of it, what is there already passed over.
    async fn whole(&self, output: &mut File, hash: &mut Hash, draft: &Path) -> Result<()> {
        let mut attempts = Attempts::new(self.policy);
        while hash.bytes < self.file.bytes {
            let before = hash.bytes;
            let fault = match self.once(output, hash, draft).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(fault)) => fault,
                Err(error) => return Err(error),
            };
            if hash.bytes > before {
                attempts.progress();
            }
            self.api.after(&mut attempts, self.file, fault).await?;
        }
        Ok(())
    }

    /// The outer error is ours or the Hub's last word.
    async fn once(
        &self,
        output: &mut File,
        hash: &mut Hash,
        draft: &Path,
    ) -> Result<std::result::Result<(), Fault>> {
        let mut response = match self.api.open(self.file, None).await {
            Ok(response) => response,
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Fault(fault)) => return Ok(Err(fault)),
        };
        let mut skip = hash.bytes;
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) if hash.bytes == self.file.bytes => return Ok(Ok(())),
                Ok(None) => {
                    let message = format!(
                        "the connection ended after {} of {} bytes",
                        hash.bytes, self.file.bytes
                    );
                    return Ok(Err(Fault::Passing(message, None)));
                }
                Err(error) => return Ok(Err(error.into())),
            };
            let passed = skip.min(chunk.len() as u64);
            skip -= passed;
            let bytes = chunk.get(passed as usize..).unwrap_or_default();
            if hash.bytes + bytes.len() as u64 > self.file.bytes {
                let message = format!(
                    "the server sent more than the {} bytes it announced",
                    self.file.bytes
                );
                return Ok(Err(Fault::Lasting(message)));
            }
            self.append(output, hash, bytes, draft)?;
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

/// The beginning of the name that git gives to contents of so many bytes.
pub(crate) fn git_blob(bytes: u64) -> Context {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {bytes}\0").as_bytes());
    context
}

pub(crate) fn hex(context: Context) -> String {
    let digest = context.finish();
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that an ETag is, as bytes come.
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
            // Of another kind of server: only the size can be compared.
            _ => None,
        };
        Self { context, bytes: 0 }
    }

    /// What a file has, to its end.
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
            return Some(format!(
                "{} bytes came, {} were announced",
                self.bytes, file.bytes
            ));
        }
        let found = hex(self.context?);
        (found != file.etag.to_ascii_lowercase())
            .then(|| format!("its hash is {found}, the Hub announced {}", file.etag))
    }
}
