//! Every answer as it comes, in a file beside the rows.
//!
//! The first line says how was asked, each further one is an answer with its place: prompt, model, sample. Lines come in
//! any order. A line that was cut off by the end of the process is dropped when the file is opened again, and a damaged
//! one counts as none: what they held is asked again. In memory there is only where each answer stands.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smollm3_files::locked_file::open_locked;

use crate::prompt::Prompt;
use crate::{Answer, Result, Settings, SynthesisError};

/// Which answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Number of the prompt.
    pub prompt: u64,
    /// Number of the model.
    pub model: u8,
    /// Which of the model's answers to the prompt, from 0.
    pub sample: u32,
}

impl Place {
    /// The stream of random numbers it is drawn from, its own in every file of fewer than 2^36 prompts.
    pub fn stream(self) -> u64 {
        (self.prompt << 28) | (u64::from(self.sample & 0xff_ffff) << 4) | u64::from(self.model & 0xf)
    }
}

/// An answer in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: u64,
    /// Hash of the prompt, in hex: JSON's readers do not all keep 64 bits of a number.
    asked: String,
    model: u8,
    sample: u32,
    finish: crate::Finish,
    tokens: u64,
    text: String,
}

/// An open file of answers, which no other process writes to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Where the next line begins.
    end: u64,
    /// Where answers stand: first byte and length of their lines.
    places: HashMap<Place, (u64, usize)>,
    /// Hashes of the prompts.
    asked: HashMap<u64, u64>,
    /// Tokens of each model's answers.
    tokens: BTreeMap<u8, u64>,
}

impl Journal {
    /// Where the answers for the rows of `out` are.
    pub fn path_of(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".answers");
        name.into()
    }

    /// How was asked for the rows of `out`, if they were begun.
    ///
    /// # Errors
    /// There is a file, and it is no journal or cannot be read.
    pub fn settings_of(out: &Path) -> Result<Option<Settings>> {
        let path = Self::path_of(out);
        match File::open(&path) {
            Ok(file) => Ok(first_line(&mut BufReader::new(file), &path)?.map(|(settings, _)| settings)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SynthesisError::io("read", &path)(error)),
        }
    }

    /// Opens the answers for the rows of `out`, or begins them.
    ///
    /// # Errors
    /// They were asked for otherwise, another process writes them, or `out` is there without them.
    pub fn open(out: &Path, settings: &Settings) -> Result<Self> {
        let path = Self::path_of(out);
        let new = !path.exists();
        if new && out.exists() {
            return Err(SynthesisError::File {
                path: out.to_owned(),
                problem: format!(
                    "exists, without the answers it is made of ({}); remove it or write another --out",
                    path.display()
                ),
            });
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(SynthesisError::io("create", folder))?;
        }
        let Some(file) = open_locked(&path).map_err(SynthesisError::io("open", &path))? else {
            let problem = "is being written by another command; wait for it, or write another --out";
            return Err(SynthesisError::File {
                path,
                problem: problem.to_owned(),
            });
        };
        let mut journal = Self {
            path,
            file,
            end: 0,
            places: HashMap::new(),
            asked: HashMap::new(),
            tokens: BTreeMap::new(),
        };
        journal.load(settings)?;
        Ok(journal)
    }

    fn load(&mut self, settings: &Settings) -> Result<()> {
        let path = self.path.clone();
        let file = self.file.try_clone().map_err(SynthesisError::io("read", &path))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        match first_line(&mut reader, &path)? {
            None => {
                self.cut()?;
                self.push(&to_line(&path, settings)?)
            }
            Some((there, length)) => {
                self.end = length;
                self.read(&mut reader)?;
                let differences = settings.differences(&there);
                if differences.is_empty() {
                    return self.cut();
                }
                // Nothing was answered that way, so nothing speaks against another.
                if self.places.is_empty() {
                    self.end = 0;
                    self.cut()?;
                    return self.push(&to_line(&path, settings)?);
                }
                let differences = differences.join("\n");
                Err(SynthesisError::Differs { path, differences })
            }
        }
    }

    /// Reads answers up to the last whole line.
    fn read(&mut self, reader: &mut impl BufRead) -> Result<()> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let length = reader.read_until(b'\n', &mut bytes);
            let length = length.map_err(SynthesisError::io("read", &self.path))?;
            let Some(line) = bytes.strip_suffix(b"\n") else {
                return Ok(());
            };
            let known = serde_json::from_slice::<Line>(line).ok();
            let known = known.and_then(|line| Some((u64::from_str_radix(&line.asked, 16).ok()?, line)));
            if let Some((asked, line)) = known {
                self.note(&line, asked, self.end, length);
            }
            self.end += length as u64;
        }
    }

    /// Drops what stands behind the last whole line.
    fn cut(&mut self) -> Result<()> {
        self.file
            .set_len(self.end)
            .map_err(SynthesisError::io("shorten", &self.path))
    }

    fn note(&mut self, line: &Line, asked: u64, at: u64, length: usize) {
        let place = Place {
            prompt: line.prompt,
            model: line.model,
            sample: line.sample,
        };
        if self.places.insert(place, (at, length)).is_none() {
            *self.tokens.entry(line.model).or_default() += line.tokens;
        }
        self.asked.insert(line.prompt, asked);
    }

    fn push(&mut self, line: &[u8]) -> Result<()> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| self.file.write_all(line));
        written.map_err(SynthesisError::io("write", &self.path))?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// Adds an answer to the prompt with this hash; one that is there already stays.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, place: Place, asked: u64, answer: Answer) -> Result<()> {
        if self.has(place) {
            return Ok(());
        }
        let Answer { text, finish, tokens } = answer;
        let line = Line {
            prompt: place.prompt,
            asked: format!("{asked:016x}"),
            model: place.model,
            sample: place.sample,
            finish,
            tokens,
            text,
        };
        let bytes = to_line(&self.path, &line)?;
        let at = self.end;
        self.push(&bytes)?;
        self.note(&line, asked, at, bytes.len());
        Ok(())
    }

    /// Brings all answers to the disk.
    ///
    /// # Errors
    /// The system cannot keep them.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(SynthesisError::io("write", &self.path))
    }

    /// Whether the answer is there.
    pub fn has(&self, place: Place) -> bool {
        self.places.contains_key(&place)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All answers that are there.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.places.keys().copied()
    }

    /// Tokens of a model's answers.
    pub fn tokens(&self, model: u8) -> u64 {
        self.tokens.get(&model).copied().unwrap_or(0)
    }

    /// The answer of a place, if it is there.
    ///
    /// # Errors
    /// The file changed or cannot be read.
    pub fn answer(&mut self, place: Place) -> Result<Option<Answer>> {
        let Some(&(at, length)) = self.places.get(&place) else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(SynthesisError::io("read", &self.path))?;
        let line: Line = serde_json::from_slice(&bytes).map_err(|error| SynthesisError::File {
            path: self.path.clone(),
            problem: format!("changed while it was in use: {error}"),
        })?;
        Ok(Some(Answer {
            text: line.text,
            finish: line.finish,
            tokens: line.tokens,
        }))
    }

    /// Makes sure that the answers are to this prompt.
    ///
    /// # Errors
    /// They are to another.
    pub fn check(&self, prompt: &Prompt) -> Result<()> {
        match self.asked.get(&prompt.index) {
            Some(asked) if *asked != prompt.hash => Err(SynthesisError::Prompt {
                place: prompt.place.clone(),
                problem: format!(
                    "is another prompt than the one answered in {}; restore the files, or write another --out",
                    self.path.display()
                ),
            }),
            _ => Ok(()),
        }
    }
}

impl Drop for Journal {
    /// A file of settings without answers is of no use to anybody; one that was found to be no such file stays.
    fn drop(&mut self) {
        if self.end > 0 && self.places.is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn to_line(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).map_err(|error| SynthesisError::File {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    line.push(b'\n');
    Ok(line)
}

/// The settings, with the length of their line; `None` where the process ended before they were written.
fn first_line(reader: &mut impl BufRead, path: &Path) -> Result<Option<(Settings, u64)>> {
    let mut line = Vec::new();
    let length = reader.read_until(b'\n', &mut line);
    let length = length.map_err(SynthesisError::io("read", path))?;
    let begins = line
        .iter()
        .zip(br#"{"settings":"#)
        .all(|(found, due)| found == due);
    if begins && line.last() != Some(&b'\n') {
        return Ok(None);
    }
    match serde_json::from_slice(&line) {
        Ok(settings) => Ok(Some((settings, length as u64))),
        Err(error) => Err(SynthesisError::File {
            path: path.to_owned(),
            problem: format!("is no file of answers ({error}); remove it or write another --out"),
        }),
    }
}
