//! A file that lines are added to, by a run that must not end because of it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::error::{Result, io};

/// What cannot be written, as on a full disk, waits for the next line, and [`LineFile::finish`] insists.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
    told: bool,
}

/// A value as one line.
pub fn line(record: &impl Serialize) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

impl LineFile {
    /// Goes on after the last whole line: of one that a kill has cut off, the end is written or the beginning removed.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn append_to(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(io("open", path))?;
        mend(&mut file).map_err(io("mend the last line of", path))?;
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

/// Makes the file end with a whole line.
fn mend(file: &mut File) -> std::io::Result<()> {
    /// Looked at from the end until a line begins.
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Wherever a kill cuts the file, what comes later is read, and of what was there at most the last line is lost.
        #[test]
        fn a_line_that_was_cut_off_spoils_no_other(
            texts in prop::collection::vec("[a-zé\\n]{0,40}", 0..6),
            long in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("lines");
            let mut texts = texts;
            texts.extend(long.then(|| "x".repeat(200_000)));
            let whole: String = texts.iter().map(line).collect();
            let cut = cut.index(whole.len() + 1);
            std::fs::write(&path, &whole.as_bytes()[..cut]).unwrap();
            let mut file = LineFile::append_to(&path).unwrap();
            file.add(&"new");
            file.finish().unwrap();
            let read: Vec<String> = std::fs::read_to_string(&path)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            // A line without its end only is whole.
            let mut expected: Vec<String> = Vec::new();
            let mut end = 0;
            for text in texts {
                end += line(&text).len();
                expected.extend((end <= cut + 1).then_some(text));
            }
            expected.push("new".to_owned());
            prop_assert_eq!(read, expected);
        }
    }

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
