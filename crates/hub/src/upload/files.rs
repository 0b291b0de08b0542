//! The files to upload: their sizes, hashes and bytes.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream;
use reqwest::Body;
use ring::digest::{Context, SHA256};
use smollm3_files::io as io_error;

use crate::blob::{git_blob, hex};
use crate::error::{HubError, Result};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// Bytes from which the Hub tells text from binary.
const SAMPLE: u64 = 512;

/// A file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadFile {
    /// Its path in the repository.
    pub name: String,
    /// Its bytes.
    pub content: Content,
}

/// The contents of a file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// On disk.
    File(PathBuf),
    /// In memory.
    Text(String),
    /// In memory, generated. It replaces a file that contains `marker`; one without it has been edited, and is kept.
    Generated {
        /// The text, which contains `marker`.
        text: String,
        /// A line that editors of the file remove.
        marker: &'static str,
    },
}

/// An open file.
pub(super) struct LocalFile<'a> {
    file: &'a UploadFile,
    size: u64,
    sha256: OnceCell<String>,
}

impl<'a> LocalFile<'a> {
    pub(super) fn open(file: &'a UploadFile) -> Result<Self> {
        let size = match &file.content {
            Content::File(path) => fs::metadata(path).map_err(io_error("read", path))?.len(),
            Content::Text(text) | Content::Generated { text, .. } => text.len() as u64,
        };
        Ok(Self {
            file,
            size,
            sha256: OnceCell::new(),
        })
    }

    pub(super) fn name(&self) -> &'a str {
        &self.file.name
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn marker(&self) -> Option<&'static str> {
        match self.file.content {
            Content::Generated { marker, .. } => Some(marker),
            Content::File(_) | Content::Text(_) => None,
        }
    }

    /// Its beginning.
    pub(super) fn sample(&self) -> Result<Vec<u8>> {
        self.read(0, SAMPLE)
    }

    /// All of it, for regular files, which are small.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        self.read(0, self.size)
    }

    fn read(&self, from: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader(from, length)?
            .read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(error))?;
        Ok(bytes)
    }

    fn reader(&self, from: u64, length: u64) -> Result<Box<dyn Read + Send>> {
        Ok(match &self.file.content {
            Content::File(path) => {
                let mut file = File::open(path).map_err(io_error("read", path))?;
                file.seek(SeekFrom::Start(from)).map_err(io_error("read", path))?;
                Box::new(file.take(length))
            }
            Content::Text(text) | Content::Generated { text, .. } => {
                let bytes = text.as_bytes().get(from as usize..).unwrap_or_default().to_vec();
                Box::new(Cursor::new(bytes).take(length))
            }
        })
    }

    fn unreadable(&self, error: io::Error) -> HubError {
        let path = match &self.file.content {
            Content::File(path) => path.clone(),
            Content::Text(_) | Content::Generated { .. } => PathBuf::from(self.name()),
        };
        io_error("read", &path)(error).into()
    }

    pub(super) fn is_hashed(&self) -> bool {
        self.sha256.get().is_some()
    }

    /// Reads it for its hash; `counted` gets the number of bytes as they are read.
    pub(super) fn hash(&self, counted: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let mut reader = self.reader(0, u64::MAX)?;
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; CHUNK];
        let mut all = 0;
        loop {
            let count = reader.read(&mut buffer).map_err(|error| self.unreadable(error))?;
            if count == 0 {
                break;
            }
            context.update(buffer.get(..count).unwrap_or_default());
            all += count as u64;
            counted(count as u64)?;
        }
        if all != self.size {
            let changed = io::Error::other("it changed during the upload");
            return Err(self.unreadable(changed));
        }
        // Set here only.
        let _ = self.sha256.set(hex(context));
        Ok(())
    }

    /// Its SHA-256, which names it in the LFS store.
    pub(super) fn sha256(&self) -> Result<&str> {
        if !self.is_hashed() {
            self.hash(&mut |_| Ok(()))?;
        }
        Ok(self.sha256.get().map_or("", String::as_str))
    }

    /// `length` bytes from offset `from` as the body of a request, counted in `taken` as they are sent.
    pub(super) fn body(&self, from: u64, length: u64, taken: &Taken) -> Result<Body> {
        let reader = self.reader(from, length)?;
        let (own, all) = (Arc::clone(&taken.own), Arc::clone(&taken.all));
        let chunks = stream::unfold(Some(reader), move |reader| {
            let read = reader.map(|mut reader| {
                let mut buffer = vec![0; CHUNK];
                let count = reader.read(&mut buffer)?;
                buffer.truncate(count);
                own.fetch_add(count as u64, Ordering::Relaxed);
                all.fetch_add(count as u64, Ordering::Relaxed);
                Ok::<_, io::Error>((buffer, reader))
            });
            std::future::ready(match read {
                None => None,
                Some(Ok((buffer, _))) if buffer.is_empty() => None,
                Some(Ok((buffer, reader))) => Some((Ok(buffer), Some(reader))),
                Some(Err(error)) => Some((Err(error), None)),
            })
        });
        Ok(Body::wrap_stream(chunks))
    }
}

/// The number of bytes that one request has sent, included in the total unless they must be sent again.
pub(super) struct Taken {
    pub(super) own: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
    is_kept: bool,
}

impl Taken {
    pub(super) fn of(all: &Arc<AtomicU64>) -> Self {
        Self {
            own: Arc::default(),
            all: Arc::clone(all),
            is_kept: false,
        }
    }

    /// Keeps them in the total; returns their number.
    pub(super) fn keep(mut self) -> u64 {
        self.is_kept = true;
        self.own.load(Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_kept {
            self.all
                .fetch_sub(self.own.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// The hash of a git blob.
pub(super) fn git_hash(bytes: &[u8]) -> String {
    let mut context = git_blob(bytes.len() as u64);
    context.update(bytes);
    hex(context)
}
