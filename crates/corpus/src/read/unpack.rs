//! Compressed files as streams of bytes: all members, frames or streams in order, and an error if the file is truncated.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;

use super::format::Compression;

const READ_BYTES: usize = 1 << 20;

/// Zstandard windows of up to 2 GiB, as `zstd --long=31` writes; the default limit is 128 MiB.
const WINDOW_LOG: u32 = 31;

/// The bytes of `file`, unpacked. `read` counts those of the file itself.
pub(super) fn unpack(
    file: File,
    compression: Compression,
    read: Arc<AtomicU64>,
) -> io::Result<Box<dyn BufRead + Send>> {
    let file = BufReader::with_capacity(READ_BYTES, Counted { file, read });
    Ok(match compression {
        Compression::Plain => Box::new(file),
        Compression::Gzip => buffered(GzipMembers(Some(GzDecoder::new(file)))),
        Compression::Zstd => {
            let mut frames = zstd::Decoder::with_buffer(file)?;
            frames.window_log_max(WINDOW_LOG)?;
            buffered(frames)
        }
        Compression::Bzip2 => buffered(MultiBzDecoder::new(file)),
        Compression::Xz => buffered(XzDecoder::new_multi_decoder(file)),
    })
}

fn buffered(stream: impl Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(READ_BYTES, stream))
}

/// A file that counts the bytes read.
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

/// The members of a gzip file in order. Zeros after a member are padding, as in gzip and Python; `flate2`'s own reader takes
/// them for a broken member.
///
/// `None` after the end of the file.
struct GzipMembers<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = match &mut self.0 {
                Some(member) => member.read(buffer)?,
                None => 0,
            };
            let Some(member) = self.0.take_if(|_| bytes == 0 && !buffer.is_empty()) else {
                return Ok(bytes);
            };
            let mut file = member.into_inner();
            self.0 = skip_zeros(&mut file)?.then(|| GzDecoder::new(file));
        }
    }
}

/// Skips padding; whether anything follows.
fn skip_zeros(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let rest = file.fill_buf()?;
        if rest.is_empty() {
            return Ok(false);
        }
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let only_zeros = zeros == rest.len();
        file.consume(zeros);
        if !only_zeros {
            return Ok(true);
        }
    }
}
