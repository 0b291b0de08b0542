//! blake3 of a parent's files, a part at a time, so that hashing keeps pace with merging and both read the same part from
//! the system's cache.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;

use blake3::Hasher;
use smollm3_files::io;

use crate::positioned::window;
use crate::{HashedFile, Result};

/// What is hashed at once: enough for several threads.
const WINDOW: u64 = 4 << 20;

/// Files on the way to their hashes.
#[derive(Debug)]
pub(crate) struct Fingerprint {
    waiting: VecDeque<Progress>,
    done: Vec<HashedFile>,
    bytes: u64,
}

#[derive(Debug)]
struct Progress {
    path: PathBuf,
    file: File,
    bytes: u64,
    hasher: Hasher,
}

impl Fingerprint {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// A file is not there.
    pub fn new(paths: Vec<PathBuf>) -> Result<Self> {
        let open = |path: PathBuf| {
            let file = File::open(&path).map_err(io("read", &path))?;
            Ok(Progress {
                bytes: file.metadata().map_err(io("read", &path))?.len(),
                hasher: Hasher::new(),
                path,
                file,
            })
        };
        let waiting = paths
            .into_iter()
            .map(open)
            .collect::<Result<VecDeque<Progress>>>()?;
        Ok(Self {
            bytes: waiting.iter().map(|file| file.bytes).sum(),
            waiting,
            done: Vec::new(),
        })
    }

    /// Length of all files together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads `bytes` more, if there are that many.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn advance(&mut self, bytes: u64) -> Result<()> {
        let mut wanted = bytes;
        while let Some(Progress {
            path,
            file,
            bytes,
            hasher,
        }) = self.waiting.front_mut()
        {
            let part = (*bytes - hasher.count()).min(wanted).min(WINDOW);
            if part > 0 {
                let window = window(file, hasher.count(), part as usize).map_err(io("read", path))?;
                hasher.update_rayon(&window);
                wanted -= part;
            }
            if hasher.count() == *bytes {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.done.push(HashedFile {
                    name: name.into_owned(),
                    bytes: *bytes,
                    blake3: hasher.finalize().to_hex().to_string(),
                });
                self.waiting.pop_front();
            } else if wanted == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Reads the rest and gives the hashes in the order of the paths.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn finish(mut self) -> Result<Vec<HashedFile>> {
        self.advance(u64::MAX)?;
        Ok(self.done)
    }
}
