//! The windows of a source with a local or a remote token store.

use std::sync::{Mutex, PoisonError};

use smollm3_corpus::CorpusError;
use smollm3_corpus::store::{StreamedShard, StreamedStore};

use crate::config::Windows;
use crate::windows::{Documents, Sequence, WindowError, WindowReader};

/// Reads the windows of a source at one sequence length.
#[derive(Debug)]
pub enum SourceReader {
    /// A store on this machine's disk.
    Local(WindowReader),
    /// A remote store, file by file through a cache.
    Streamed(StreamedReader),
}

impl SourceReader {
    /// The value of [`crate::SourceInfo::windows`].
    pub fn windows(&self) -> Windows {
        match self {
            Self::Local(reader) => Windows::Whole(reader.windows()),
            Self::Streamed(reader) => Windows::Files(reader.files.as_slice().into()),
        }
    }

    /// A window as a fresh sequence.
    ///
    /// # Errors
    /// See [`WindowError`]; a streamed file that cannot be fetched.
    pub fn read(&self, window: u64) -> Result<Sequence, WindowError> {
        match self {
            Self::Local(reader) => reader.read(window),
            Self::Streamed(reader) => reader.read(window),
        }
    }

    /// Starts fetching the file of a window in the background. Returns at once.
    pub fn prefetch(&self, window: u64) {
        if let Self::Streamed(reader) = self
            && let Some((file, _)) = reader.locate(window)
        {
            reader.store.prefetch(file);
        }
    }

    /// Closes the streamed file that was read last: other readers may need its room in the cache, and a rank that waits for
    /// them must not hold it.
    pub fn release(&self) {
        if let Self::Streamed(reader) = self {
            *reader.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Reads the windows of a store that comes file by file. The file read last stays open until
/// [`SourceReader::release`], so an order that visits each file once opens each once.
#[derive(Debug)]
pub struct StreamedReader {
    store: StreamedStore,
    sequence_length: u64,
    vocabulary: u32,
    documents: Documents,
    /// Windows of each file.
    files: Vec<u64>,
    open: Mutex<Option<(usize, WindowReader<StreamedShard>)>>,
}

impl StreamedReader {
    /// A reader of windows of `sequence_length + 1` tokens, all below `vocabulary`.
    pub fn new(store: StreamedStore, sequence_length: u64, vocabulary: u32, documents: Documents) -> Self {
        Self {
            files: store.windows(sequence_length),
            store,
            sequence_length,
            vocabulary,
            documents,
            open: Mutex::new(None),
        }
    }

    fn read(&self, window: u64) -> Result<Sequence, WindowError> {
        let (file, inside) = self.locate(window).ok_or_else(|| CorpusError::Source {
            name: self.store.name().to_owned(),
            problem: format!(
                "it has no window {window}, it has {}",
                self.files.iter().sum::<u64>()
            ),
        })?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.as_ref() {
            Some((number, reader)) if *number == file => reader.read(inside),
            _ => {
                // The last one is closed first: a small cache may need its room.
                *open = None;
                let shard = self.store.shard(file)?;
                let reader = WindowReader::new(shard, self.sequence_length, self.vocabulary, self.documents)?;
                let sequence = reader.read(inside);
                *open = Some((file, reader));
                sequence
            }
        }
    }

    /// The file that holds a window, and the window's number inside.
    fn locate(&self, window: u64) -> Option<(usize, u64)> {
        let mut inside = window;
        for (file, windows) in self.files.iter().enumerate() {
            if inside < *windows {
                return Some((file, inside));
            }
            inside -= windows;
        }
        None
    }
}
