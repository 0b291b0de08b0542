//! Reads and writes at a position, from many threads at once.
//!
//! Parents are read through short-lived maps of a part of a file: nothing is copied, and only what is being worked on is in
//! memory. The price of a map: a file that is truncated at that moment raises SIGBUS.

use std::fs::File;
use std::io::Result;

use memmap2::{Mmap, MmapOptions};

/// The bytes of a file from `offset` on, all of them in memory. The file has that many.
pub(crate) fn window(file: &File, offset: u64, bytes: usize) -> Result<Mmap> {
    let mut options = MmapOptions::new();
    options.offset(offset).len(bytes).populate();
    // SAFETY: the map is private to this process and read-only; what changing the file meanwhile does is said above.
    unsafe { options.map(file) }
}

/// Writes all of `bytes` from `offset` on.
#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Writes all of `bytes` from `offset` on.
#[cfg(windows)]
pub(crate) fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}
