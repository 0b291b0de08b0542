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

use super::{BATCH_BYTES, Batch, Batches, Compression, Position, Rows};
use crate::error::{CorpusError, Result};

/// A longer line is taken for a file that is not lines at all.
const LONGEST_LINE: u64 = 1 << 30;

const READ_BYTES: usize = 1 << 20;

pub(super) fn open(
    path: &Path,
    name: &str,
    compression: Compression,
    column: &str,
    from: Position,
) -> Result<Batches> {
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
    Ok(Box::new(LineBatches {
        name: name.to_owned(),
        column: Arc::from(column),
        stream: Some(stream),
        position: from,
        read,
    }))
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

struct LineBatches {
    name: String,
    column: Arc<str>,
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
    fn fill(&mut self) -> Result<Option<Batch>> {
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
        let rows = Rows::Lines {
            buffer,
            ends,
            column: self.column.clone(),
        };
        Ok(Some(Batch {
            start,
            file_bytes: self.read.load(Ordering::Relaxed),
            rows,
        }))
    }
}

impl Iterator for LineBatches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.fill();
        if !matches!(batch, Ok(Some(_))) {
            self.stream = None;
        }
        batch.transpose()
    }
}
