//! A file that is one JSON list, cut into its elements as they come.
//!
//! Only brackets and strings are told apart; the elements are parsed later, as lines are. What belongs to the
//! list itself (its brackets and commas) becomes a space, so that each element with the bytes around it
//! stands where a line would.

use std::io::{self, BufRead};

use memchr::memchr2;

use super::ready::ready;

/// Where in a list a reader is.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Open brackets, that of the list included.
    depth: u64,
    in_string: bool,
    /// The last byte was a backslash in a string.
    escaped: bool,
    /// The list is over, and nothing follows it.
    ended: bool,
}

/// Why scanning ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// More bytes are needed.
    Bytes,
    /// Behind the bracket that opens the list.
    Opening,
    /// Behind the comma that follows an element.
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
    /// Those of `stream`; a list without an end, or with something behind it.
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
                // The bracket is left for the next call: to go on behind the last element is then as elsewhere.
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

    /// How many of `bytes` come before the next thing of the list itself, and which that is.
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
                    // Those of the list are never closed by what an element has too many of.
                    b']' | b'}' => self.depth = self.depth.saturating_sub(1).max(1),
                    b',' if self.depth == 1 => return (at, End::Comma),
                    _ => {}
                }
            }
        }
        (at, End::Bytes)
    }
}

/// Passes over the closing bracket and the white space behind it.
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
