//! A file that lines are added to, by a run that must not end because of it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Result;
use crate::error::io;

/// What cannot be written, as on a full disk, waits for the next line, and [`LineFile::finish`] insists.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
    told: bool,
}

/// A value as one line.
pub(crate) fn line(record: &impl Serialize) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

impl LineFile {
    /// # Errors
    /// The file cannot be opened or made.
    pub fn append_to(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(io("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            waiting: Vec::new(),
            told: false,
        })
    }

    /// Adds a line, now or later.
    pub fn add(&mut self, record: &impl Serialize) {
        self.waiting.extend_from_slice(line(record).as_bytes());
        match self.write() {
            Ok(()) => self.told = false,
            Err(error) if !self.told => {
                tracing::warn!("{}: cannot write, trying again: {error}", self.path.display());
                self.told = true;
            }
            Err(_) => {}
        }
    }

    /// Makes sure that all lines are in the file.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.write().map_err(io("write", &self.path))
    }

    /// Writes what waits; what has been written is not written again.
    fn write(&mut self) -> std::io::Result<()> {
        while !self.waiting.is_empty() {
            match self.file.write(&self.waiting) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
        assert_eq!(file.waiting, b"1\n2\n");
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
