//! Bytes of a stream, without waiting for more than there are.

use std::io::{self, BufRead};

/// What a stream has ready; nothing at its end.
pub(super) fn ready(stream: &mut dyn BufRead) -> io::Result<&[u8]> {
    loop {
        match stream.fill_buf() {
            // The borrow of a result that is returned does not end here, so it is asked for again.
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.fill_buf()
}
