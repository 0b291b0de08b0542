//! Downloads one remote file, complete or not at all.
//!
//! The bytes go to a hidden temporary file, which is renamed once it has the listed size and is synced. After a fault the
//! transfer resumes where it stopped.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use smollm3_files::atomic_file::{partial_name, sync_parent};
use smollm3_files::io;

use super::retry::{Attempts, Fault};
use super::{RemoteClient, RemoteFile};
use crate::error::{CorpusError, Result};
use crate::shards::Shard;

/// Maximum bytes of a file that is read into memory.
const MOST_TEXT: u64 = 1 << 20;

/// Removes the temporary file unless the transfer succeeded.
struct Partial {
    path: PathBuf,
    keep: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl RemoteClient {
    /// Downloads `file` to `target`. `progress` gets the number of bytes as they arrive.
    ///
    /// # Errors
    /// With the source's name: the store's answer, after all attempts of the policy; a file that changed since it was listed;
    /// a full disk.
    pub fn download(
        &self,
        source: &str,
        file: &RemoteFile,
        target: &Path,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        self.block_on(self.download_async(source, file, target, progress))
    }

    pub(crate) async fn download_async(
        &self,
        source: &str,
        file: &RemoteFile,
        target: &Path,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let folder = target.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let mut partial = Partial {
            path: partial_name(target)?,
            keep: false,
        };
        let mut output = File::create(&partial.path).map_err(io("create", &partial.path))?;

        self.copy(source, file, &mut output, &partial.path, progress)
            .await?;
        output.sync_all().map_err(io("write", &partial.path))?;
        fs::rename(&partial.path, target).map_err(io("write", target))?;
        partial.keep = true;
        Ok(sync_parent(target)?)
    }

    /// The contents of a small text file.
    ///
    /// # Errors
    /// As [`RemoteClient::download`]; a file that is too large, or not UTF-8.
    pub(crate) fn text(&self, source: &str, file: &RemoteFile) -> Result<String> {
        let Shard { name, bytes, .. } = &file.shard;
        if *bytes > MOST_TEXT {
            let problem = format!("`{name}` has {bytes} bytes; a file of its kind has at most {MOST_TEXT}");
            return Err(CorpusError::source(source, problem));
        }
        let mut contents = Vec::new();
        self.block_on(self.copy(source, file, &mut contents, Path::new(name), &|_| {}))?;
        String::from_utf8(contents)
            .map_err(|_| CorpusError::source(source, format!("`{name}` is not valid UTF-8")))
    }

    /// All bytes of `file` into `output`, which messages call `path`.
    async fn copy(
        &self,
        source: &str,
        file: &RemoteFile,
        output: &mut (impl Write + Send),
        path: &Path,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let what = format!("cannot read `{}`", file.shard.name);
        let mut attempts = Attempts::new(&self.inner.policy);
        let mut have = 0;
        while have < file.shard.bytes {
            let Some(fault) = self.transfer(file, output, path, &mut have, progress).await? else {
                continue;
            };
            attempts.arrived(have);
            let waited = attempts.after(&what, fault).await;
            waited.map_err(|problem| CorpusError::source(source, problem))?;
        }
        Ok(())
    }

    /// One request. The error is of the local disk, the fault the store's.
    async fn transfer(
        &self,
        file: &RemoteFile,
        output: &mut (impl Write + Send),
        path: &Path,
        have: &mut u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<Fault>> {
        let stall = self.inner.policy.stall;
        let stalled = || Fault::Passing(format!("nothing came for {stall:?}"), None);
        let mut stream = match tokio::time::timeout(stall * 2, self.open_at(file, *have)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(fault)) => return Ok(Some(fault)),
            Err(_) => return Ok(Some(stalled())),
        };
        loop {
            let bytes = match tokio::time::timeout(stall, stream.next()).await {
                Err(_) => return Ok(Some(stalled())),
                Ok(Some(Err(fault))) => return Ok(Some(fault)),
                Ok(Some(Ok(bytes))) => bytes,
                Ok(None) if *have < file.shard.bytes => {
                    let message = format!("the connection ended after {have} of {} bytes", file.shard.bytes);
                    return Ok(Some(Fault::Passing(message, None)));
                }
                Ok(None) => return Ok(None),
            };
            if *have + bytes.len() as u64 > file.shard.bytes {
                let message = format!(
                    "the server sent more than the {} bytes it announced",
                    file.shard.bytes
                );
                return Ok(Some(Fault::Lasting(message)));
            }
            output.write_all(&bytes).map_err(io("write", path))?;
            *have += bytes.len() as u64;
            progress(bytes.len() as u64);
        }
    }
}
