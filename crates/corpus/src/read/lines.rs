//! Files of JSON as batches of unparsed rows: the lines of a file of lines, the elements of a file that is one list.
//!
//! One thread cuts the (unpacked) stream into batches of whole rows. To resume in the middle of a file, the bytes before are
//! skipped: by seeking in a plain file, by unpacking in a compressed one, which is some twenty times faster than tokenising.

use std::fs::File;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr2;

use smollm3_files::io;

use super::format::Compression;
use super::json::without_mark;
use super::list::{List, ready};
use super::unpack::unpack;
use super::{BATCH_BYTES, Position};
use crate::error::{CorpusError, Result};

/// A longer row means that the file holds none.
const LONGEST_ROW: usize = 1 << 30;

/// Bytes from which layout and encoding are detected.
const HEAD: u64 = 4096;

/// A run of rows of one file.
pub(super) struct LineBatch {
    /// Where its first row begins.
    pub(super) start: Position,
    /// Bytes of the file, as stored, read when the batch was complete.
    pub(super) file_bytes: u64,
    pub(super) lines: Lines,
}

/// Row `i` is `buffer[ends[i - 1]..ends[i]]`, its newline included.
#[derive(Debug)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    ends: Vec<usize>,
    /// The word for a row in messages.
    pub(super) unit: &'static str,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes up to the end of row `line`.
    pub(super) fn bytes_to(&self, line: usize) -> u64 {
        self.ends.get(line).map_or(0, |end| *end as u64)
    }

    /// Row `line`; nothing past the last one.
    pub(super) fn line(&self, line: usize) -> &[u8] {
        let end = |line: usize| self.ends.get(line).copied();
        let start = line.checked_sub(1).and_then(end).unwrap_or(0);
        self.buffer
            .get(start..end(line).unwrap_or(start))
            .unwrap_or_default()
    }
}

pub(super) fn open(path: &Path, name: &str, compression: Compression, from: Position) -> Result<LineBatches> {
    let read = Arc::new(AtomicU64::new(0));
    let trouble = |error| damaged(name, "line", from.rows, &error);
    let open = || File::open(path).map_err(io("open", path));
    let mut stream = unpack(open()?, compression, read.clone()).map_err(trouble)?;

    let mut head = Vec::new();
    (&mut stream).take(HEAD).read_to_end(&mut head).map_err(trouble)?;
    let layout = Layout::of(&head).map_err(|problem| CorpusError::source(name, problem))?;

    let stream: Box<dyn BufRead + Send> = if from.bytes == 0 {
        Box::new(Cursor::new(head).chain(stream))
    } else if compression == Compression::Plain {
        let mut file = open()?;
        file.seek(SeekFrom::Start(from.bytes)).map_err(io("read", path))?;
        read.store(from.bytes, Ordering::Relaxed);
        unpack(file, compression, read.clone()).map_err(trouble)?
    } else {
        let mut whole = Cursor::new(head).chain(stream);
        skip(&mut whole, from.bytes).map_err(trouble)?;
        Box::new(whole)
    };
    Ok(LineBatches {
        name: name.to_owned(),
        list: (layout == Layout::List).then(|| List::entered(from.bytes > 0)),
        stream: Some(stream),
        position: from,
        read,
    })
}

fn skip(stream: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut stream.take(bytes), &mut io::sink())?;
    match skipped < bytes {
        true => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it is shorter than it was",
        )),
        false => Ok(()),
    }
}

fn damaged(name: &str, unit: &str, rows: u64, error: &io::Error) -> CorpusError {
    CorpusError::source(
        name,
        format!("it is damaged or cut short after {unit} {rows}: {error}"),
    )
}

/// How a file holds its rows.
#[derive(Debug, PartialEq, Eq)]
enum Layout {
    Lines,
    List,
}

impl Layout {
    /// The layout of a file that begins with `head`, or the remedy if it is not UTF-8.
    fn of(head: &[u8]) -> Result<Self, String> {
        let encoding = match head {
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..] => {
                Some("UTF-16")
            }
            _ => None,
        };
        if let Some(encoding) = encoding {
            return Err(format!(
                "it is {encoding}, not UTF-8; convert it (`iconv -f {encoding} -t UTF-8`)"
            ));
        }
        Ok(match without_mark(head).trim_ascii_start() {
            [b'[', ..] => Layout::List,
            _ => Layout::Lines,
        })
    }
}

/// The batches of a file, in order.
pub(super) struct LineBatches {
    name: String,
    /// The position in the list, for a file that is one.
    list: Option<List>,
    /// `None` after the end or an error.
    stream: Option<Box<dyn BufRead + Send>>,
    position: Position,
    read: Arc<AtomicU64>,
}

impl LineBatches {
    fn fill(&mut self) -> Result<Option<LineBatch>> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        let unit = match self.list {
            Some(_) => "row",
            None => "line",
        };
        let mut buffer = Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4);
        let mut ends = Vec::new();
        while buffer.len() < BATCH_BYTES {
            let rows = self.position.rows + ends.len() as u64;
            let before = buffer.len();
            let read = match &mut self.list {
                Some(list) => list.read_element(stream, &mut buffer, LONGEST_ROW),
                None => read_line(stream, &mut buffer, LONGEST_ROW),
            };
            if !read.map_err(|error| damaged(&self.name, unit, rows, &error))? {
                break;
            }
            if buffer.len() - before >= LONGEST_ROW {
                let problem = format!("{unit} {} is longer than 1 GiB; is it a file of rows?", rows + 1);
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
        Ok(Some(LineBatch {
            start,
            file_bytes: self.read.load(Ordering::Relaxed),
            lines: Lines { buffer, ends, unit },
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

/// Appends a line with its end (LF, CR LF or CR) to `buffer`; false at the end of the stream. Stops at `most` bytes.
fn read_line(stream: &mut dyn BufRead, buffer: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let before = buffer.len();
    loop {
        let bytes = ready(stream)?;
        let line = buffer.get(before..).unwrap_or_default();
        if bytes.is_empty() || line.len() >= most {
            return Ok(!line.is_empty());
        }
        if line.ends_with(b"\r") {
            // The line ends here, unless an LF belongs to it.
            if bytes.starts_with(b"\n") {
                buffer.push(b'\n');
                stream.consume(1);
            }
            return Ok(true);
        }
        let taken = memchr2(b'\n', b'\r', bytes).map_or(bytes.len(), |end| end + 1);
        let part = bytes.get(..taken).unwrap_or_default();
        buffer.extend_from_slice(part);
        let ended = part.ends_with(b"\n");
        stream.consume(taken);
        if ended {
            return Ok(true);
        }
    }
}
