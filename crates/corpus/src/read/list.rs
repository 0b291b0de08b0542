//! A file that is one JSON list, streamed as its elements.
//!
//! Only brackets and strings are recognised; the elements are parsed later, as lines are. The brackets and commas of the
//! list itself become spaces, so that each element with the bytes around it takes the place of a line.

use std::io::{self, BufRead};

use memchr::memchr2;

/// The position of a reader in a list.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Open brackets, including the list's.
    depth: u64,
    in_string: bool,
    /// The last byte was a backslash in a string.
    escaped: bool,
    /// After the list, which nothing follows.
    ended: bool,
}

/// Why scanning stops.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// More bytes are needed.
    Bytes,
    /// After the bracket that opens the list.
    Opening,
    /// After the comma that follows an element.
    Comma,
    /// Before the bracket that closes the list.
    Closing,
}

impl List {
    /// A reader at the beginning of the file, or between two elements.
    pub(super) fn entered(inside: bool) -> Self {
        List {
            depth: u64::from(inside),
            ..List::default()
        }
    }

    /// Appends the next element to `buffer`; false at the end of the list. It stops at `most` bytes.
    ///
    /// # Errors
    /// Those of `stream`; a list without an end, or with something after it.
    pub(super) fn read_element(
        &mut self,
        stream: &mut dyn BufRead,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<bool> {
        let before = buffer.len();
        loop {
            if self.ended {
                return Ok(false);
            }
            let bytes = ready(stream)?;
            if bytes.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "its list has no end",
                ));
            }
            let (taken, end) = self.scan(bytes);
            buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
            stream.consume(taken);
            if matches!(end, End::Opening | End::Comma)
                && let Some(last) = buffer.last_mut()
            {
                *last = b' ';
            }
            match end {
                End::Comma => return Ok(true),
                // The bracket is left for the next call, so that resuming after the last element is no special case.
                End::Closing if buffer.len() > before => return Ok(true),
                End::Closing => {
                    nothing_follows(stream)?;
                    self.ended = true;
                }
                End::Bytes if buffer.len() - before >= most => return Ok(true),
                End::Opening | End::Bytes => {}
            }
        }
    }

    /// How many of `bytes` come before the next bracket or comma of the list itself, and which that is.
    fn scan(&mut self, bytes: &[u8]) -> (usize, End) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                match byte {
                    b'"' => self.in_string = false,
                    b'\\' => self.escaped = true,
                    _ => {
                        let rest = bytes.get(at..).unwrap_or_default();
                        at += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    }
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'[' | b'{' => {
                        self.depth += 1;
                        if self.depth == 1 {
                            return (at, End::Opening);
                        }
                    }
                    b']' if self.depth == 1 => return (at - 1, End::Closing),
                    // Surplus closing brackets of an element never close the list.
                    b']' | b'}' => self.depth = self.depth.saturating_sub(1).max(1),
                    b',' if self.depth == 1 => return (at, End::Comma),
                    _ => {}
                }
            }
        }
        (at, End::Bytes)
    }
}

/// Skips the closing bracket; only white space may follow.
fn nothing_follows(stream: &mut dyn BufRead) -> io::Result<()> {
    stream.consume(1);
    loop {
        let bytes = ready(stream)?;
        if bytes.is_empty() {
            return Ok(());
        }
        if !bytes.trim_ascii().is_empty() {
            let problem = "something follows its list; a file is one list or one object a line";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let blank = bytes.len();
        stream.consume(blank);
    }
}

/// The bytes that a stream has ready; none at its end.
pub(super) fn ready(stream: &mut dyn BufRead) -> io::Result<&[u8]> {
    while let Err(error) = stream.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    stream.fill_buf()
}
