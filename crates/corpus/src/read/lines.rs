//! Files of lines, plain, gzip or Zstandard.
//!
//! One thread cuts the (decompressed) stream into batches of whole lines; nothing is parsed here. To go
//! on in the middle of a file the bytes before are skipped: at once in a plain file, by decompressing
//! in a compressed one, which is still some twenty times faster than tokenising them was.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::{BATCH_BYTES, Compression, Position};
use crate::error::{CorpusError, Result};

/// A longer line is taken for a file that is not lines at all.
const LONGEST_LINE: u64 = 1 << 30;

const READ_BYTES: usize = 1 << 20;

/// A run of lines of one file.
pub(super) struct LineBatch {
    /// Where its first line begins.
    pub(super) start: Position,
    /// Bytes of the file, as it lies on disk, read when the batch was done.
    pub(super) file_bytes: u64,
    pub(super) lines: Lines,
}

/// Line `i` is `buffer[ends[i - 1]..ends[i]]`, its newline included.
#[derive(Debug)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes up to the end of line `line`.
    pub(super) fn bytes_to(&self, line: usize) -> u64 {
        self.ends.get(line).map_or(0, |end| *end as u64)
    }

    /// Line `line`; nothing past the last one.
    pub(super) fn line(&self, line: usize) -> &[u8] {
        let start = line
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(line).copied().unwrap_or(start);
        self.buffer.get(start..end).unwrap_or_default()
    }
}

pub(super) fn open(path: &Path, name: &str, compression: Compression, from: Position) -> Result<LineBatches> {
    let mut file = File::open(path).map_err(CorpusError::io("open", path))?;
    let read = Arc::new(AtomicU64::new(0));
    let trouble = |error: io::Error| damaged(name, from, &error);
    let stream: Box<dyn BufRead + Send> = match compression {
        Compression::Plain => {
            file.seek(SeekFrom::Start(from.bytes))
                .map_err(CorpusError::io("read", path))?;
            read.store(from.bytes, Ordering::Relaxed);
            Box::new(BufReader::with_capacity(
                READ_BYTES,
                Counted {
                    file,
                    read: read.clone(),
                },
            ))
        }
        Compression::Gzip => {
            let packed = BufReader::with_capacity(
                READ_BYTES,
                Counted {
                    file,
                    read: read.clone(),
                },
            );
            skip(
                BufReader::with_capacity(READ_BYTES, MultiGzDecoder::new(packed)),
                from.bytes,
            )
            .map_err(trouble)?
        }
        Compression::Zstd => {
            let unpacked = zstd::Decoder::new(Counted {
                file,
                read: read.clone(),
            })
            .map_err(trouble)?;
            skip(BufReader::with_capacity(READ_BYTES, unpacked), from.bytes).map_err(trouble)?
        }
    };
    Ok(LineBatches {
        name: name.to_owned(),
        stream: Some(stream),
        position: from,
        read,
    })
}

fn skip(mut stream: impl BufRead + Send + 'static, bytes: u64) -> io::Result<Box<dyn BufRead + Send>> {
    let skipped = io::copy(&mut stream.by_ref().take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it is shorter than it was",
        ));
    }
    Ok(Box::new(stream))
}

fn damaged(name: &str, at: Position, error: &io::Error) -> CorpusError {
    let problem = format!("it is damaged or cut short after line {}: {error}", at.rows);
    CorpusError::source(name, problem)
}

/// The batches of a file of lines, in order.
pub(super) struct LineBatches {
    name: String,
    /// `None` after the end or an error.
    stream: Option<Box<dyn BufRead + Send>>,
    position: Position,
    read: Arc<AtomicU64>,
}

/// A file that tells how much of it was read.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl LineBatches {
    fn fill(&mut self) -> Result<Option<LineBatch>> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        let mut buffer = Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4);
        let mut ends = Vec::new();
        while buffer.len() < BATCH_BYTES {
            let at = Position {
                rows: self.position.rows + ends.len() as u64,
                bytes: 0,
            };
            let read = stream
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut buffer)
                .map_err(|error| damaged(&self.name, at, &error))?;
            if read == 0 {
                break;
            }
            if read as u64 == LONGEST_LINE {
                let problem = format!(
                    "line {} is longer than 1 GiB; is it a file of lines?",
                    at.rows + 1
                );
                return Err(CorpusError::source(&self.name, problem));
            }
            ends.push(buffer.len());
        }
        if ends.is_empty() {
            return Ok(None);
        }
        let start = self.position;
        self.position.rows += ends.len() as u64;
        self.position.bytes += buffer.len() as u64;
        if start.bytes == 0 && buffer.starts_with(b"\xef\xbb\xbf") {
            // A byte order mark is not part of the first line, but its bytes count for the position.
            buffer.iter_mut().take(3).for_each(|byte| *byte = b' ');
        }
        Ok(Some(LineBatch {
            start,
            file_bytes: self.read.load(Ordering::Relaxed),
            lines: Lines { buffer, ends },
        }))
    }
}

impl Iterator for LineBatches {
    type Item = Result<LineBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.fill();
        if !matches!(batch, Ok(Some(_))) {
            self.stream = None;
        }
        batch.transpose()
    }
}
