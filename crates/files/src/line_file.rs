//! An append-only file of JSON lines whose write errors do not end the run.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::error::{Result, io};

/// Lines that cannot be written, as on a full disk, are kept and retried with the next one; [`LineFile::finish`] fails if
/// they still cannot be.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
    warned: bool,
}

/// A value as one line.
pub fn line(record: &impl Serialize) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

impl LineFile {
    /// Opens the file for appending. A last line that a kill cut off is completed if only its newline is missing, otherwise
    /// removed.
    ///
    /// # Errors
    /// The file cannot be opened or created.
    pub fn append_to(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(io("open", path))?;
        repair(&mut file).map_err(io("repair the last line of", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            pending: Vec::new(),
            warned: false,
        })
    }

    /// Appends a line; on failure it is kept for the next attempt.
    pub fn add(&mut self, record: &impl Serialize) {
        self.pending.extend_from_slice(line(record).as_bytes());
        match self.write() {
            Ok(()) => self.warned = false,
            Err(error) if !self.warned => {
                tracing::warn!("{}: cannot write, trying again: {error}", self.path.display());
                self.warned = true;
            }
            Err(_) => {}
        }
    }

    /// Writes all pending lines.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.write().map_err(io("write", &self.path))
    }

    /// Writes pending bytes; each is removed from the buffer once written.
    fn write(&mut self) -> std::io::Result<()> {
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Makes the file end with a complete line.
fn repair(file: &mut File) -> std::io::Result<()> {
    /// Bytes read at a time, from the end, to find the last newline.
    const BLOCK: u64 = 1 << 16;
    let length = file.seek(SeekFrom::End(0))?;
    let mut rest = Vec::new();
    let mut begin = length;
    while begin > 0 && !rest.contains(&b'\n') {
        let from = begin.saturating_sub(BLOCK);
        let mut block = vec![0; (begin - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut block)?;
        block.append(&mut rest);
        (rest, begin) = (block, from);
    }
    let whole = rest
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    match rest.get(whole..).unwrap_or_default() {
        [] => Ok(()),
        line if serde_json::from_slice::<IgnoredAny>(line).is_ok() => file.write_all(b"\n"),
        _ => file.set_len(begin + whole as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_nothing_but_the_end() {
        let mut file = LineFile::append_to(Path::new("/dev/full")).unwrap();
        file.add(&1);
        file.add(&2);
        assert_eq!(file.pending, b"1\n2\n");
        let error = file.finish().unwrap_err().to_string();
        assert!(error.contains("/dev/full"), "{error}");

        // Space again.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        file.file = File::create(&path).unwrap();
        file.add(&3);
        file.finish().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1\n2\n3\n");
    }
}
