//! The file next to the rows that stores every answer as it arrives.
//!
//! The first line has the settings; each further line is an answer with its place: prompt, model, sample. Lines are in any
//! order. A line that was cut off by a kill is dropped when the file is reopened, and a damaged one is ignored: those answers
//! are generated again. Only the positions of the lines are kept in memory.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smollm3_files::locked_file::open_locked;
use smollm3_files::{io, line};

use crate::prompt::Prompt;
use crate::{Answer, Result, Settings, SynthesisError};

/// The identity of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnswerId {
    /// Number of the prompt.
    pub prompt: u64,
    /// Number of the model.
    pub model: u8,
    /// Number of the model's answer to the prompt, from 0.
    pub sample: u32,
}

impl AnswerId {
    /// The stream of random numbers that it is sampled from, unique among fewer than 2^36 prompts.
    pub fn stream(self) -> u64 {
        (self.prompt << 28) | (u64::from(self.sample & 0xff_ffff) << 4) | u64::from(self.model & 0xf)
    }
}

/// An answer in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalLine {
    prompt: u64,
    /// Hash of the prompt, in hexadecimal digits: not all JSON readers keep 64 bits of a number.
    asked: String,
    model: u8,
    sample: u32,
    finish: crate::Finish,
    tokens: u64,
    text: String,
}

/// An open file of answers, locked against other processes.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Offset of the next line.
    end: u64,
    /// Offset and length of the lines of answers.
    places: HashMap<AnswerId, (u64, usize)>,
    /// Hashes of the prompts.
    asked: HashMap<u64, u64>,
    /// Number of tokens of each model's answers.
    tokens: BTreeMap<u8, u64>,
}

impl Journal {
    /// The file of answers for the rows of `out`.
    pub fn path_of(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".answers");
        name.into()
    }

    /// The settings of the answers for the rows of `out`, if there are any.
    ///
    /// # Errors
    /// The file is not a file of answers, or cannot be read.
    pub fn settings_of(out: &Path) -> Result<Option<Settings>> {
        let path = Self::path_of(out);
        match File::open(&path) {
            Ok(file) => Ok(first_line(&mut BufReader::new(file), &path)?.map(|(settings, _)| settings)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &path)(error).into()),
        }
    }

    /// Opens or creates the file of answers for the rows of `out`.
    ///
    /// # Errors
    /// It has other settings, another process writes to it, or `out` exists without it.
    pub fn open(out: &Path, settings: &Settings) -> Result<Self> {
        let path = Self::path_of(out);
        let new = !path.exists();
        if new && out.exists() {
            return Err(SynthesisError::File {
                path: out.to_owned(),
                problem: format!(
                    "exists, without the answers it is made from ({}); remove it, or use another --out",
                    path.display()
                ),
            });
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io("create", folder))?;
        }
        let Some(file) = open_locked(&path).map_err(io("open", &path))? else {
            let problem = "another process is writing it; wait for it, or use another --out";
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
        let file = self.file.try_clone().map_err(io("read", &path))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        match first_line(&mut reader, &path)? {
            None => {
                self.cut()?;
                self.push(line(settings).as_bytes())
            }
            Some((there, length)) => {
                self.end = length;
                self.read(&mut reader)?;
                let differences = settings.differences(&there);
                if differences.is_empty() {
                    return self.cut();
                }
                // Without answers, other settings may take their place.
                if self.places.is_empty() {
                    self.end = 0;
                    self.cut()?;
                    return self.push(line(settings).as_bytes());
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
            let length = length.map_err(io("read", &self.path))?;
            let Some(line) = bytes.strip_suffix(b"\n") else {
                return Ok(());
            };
            let known = serde_json::from_slice::<JournalLine>(line).ok();
            let known = known.and_then(|line| Some((u64::from_str_radix(&line.asked, 16).ok()?, line)));
            if let Some((asked, line)) = known {
                self.note(&line, asked, self.end, length);
            }
            self.end += length as u64;
        }
    }

    /// Drops what follows the last whole line.
    fn cut(&mut self) -> Result<()> {
        Ok(self.file.set_len(self.end).map_err(io("truncate", &self.path))?)
    }

    fn note(&mut self, line: &JournalLine, asked: u64, at: u64, length: usize) {
        let place = AnswerId {
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
        written.map_err(io("write", &self.path))?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// Adds an answer to the prompt with this hash, unless it is there already.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, place: AnswerId, asked: u64, answer: Answer) -> Result<()> {
        if self.has(place) {
            return Ok(());
        }
        let Answer { text, finish, tokens } = answer;
        let line = JournalLine {
            prompt: place.prompt,
            asked: format!("{asked:016x}"),
            model: place.model,
            sample: place.sample,
            finish,
            tokens,
            text,
        };
        let bytes = smollm3_files::line(&line).into_bytes();
        let at = self.end;
        self.push(&bytes)?;
        self.note(&line, asked, at, bytes.len());
        Ok(())
    }

    /// Flushes all answers to the disk.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data().map_err(io("write", &self.path))?)
    }

    /// Whether the answer is there.
    pub fn has(&self, place: AnswerId) -> bool {
        self.places.contains_key(&place)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The places of all answers.
    pub fn places(&self) -> impl Iterator<Item = AnswerId> {
        self.places.keys().copied()
    }

    /// Number of tokens of a model's answers.
    pub fn tokens(&self, model: u8) -> u64 {
        self.tokens.get(&model).copied().unwrap_or(0)
    }

    /// The answer at a place, if there is one.
    ///
    /// # Errors
    /// The file changed or cannot be read.
    pub fn answer(&mut self, place: AnswerId) -> Result<Option<Answer>> {
        let Some(&(at, length)) = self.places.get(&place) else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(io("read", &self.path))?;
        let line: JournalLine = serde_json::from_slice(&bytes).map_err(|error| SynthesisError::File {
            path: self.path.clone(),
            problem: format!("changed while it was in use: {error}"),
        })?;
        Ok(Some(Answer {
            text: line.text,
            finish: line.finish,
            tokens: line.tokens,
        }))
    }

    /// Checks that the answers are to this prompt.
    ///
    /// # Errors
    /// They are to another one.
    pub fn check(&self, prompt: &Prompt) -> Result<()> {
        match self.asked.get(&prompt.index) {
            Some(asked) if *asked != prompt.hash => Err(SynthesisError::Prompt {
                place: prompt.place.clone(),
                problem: format!(
                    "differs from the prompt that was answered in {}; restore the files, or use another --out",
                    self.path.display()
                ),
            }),
            _ => Ok(()),
        }
    }
}

impl Drop for Journal {
    /// Removes a file that has settings but no answers. One that turned out not to be a file of answers is kept.
    fn drop(&mut self) {
        if self.end > 0 && self.places.is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The settings, with the length of their line; `None` if a kill cut it off.
fn first_line(reader: &mut impl BufRead, path: &Path) -> Result<Option<(Settings, u64)>> {
    let mut line = Vec::new();
    let length = reader.read_until(b'\n', &mut line);
    let length = length.map_err(io("read", path))?;
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
            problem: format!("is not a file of answers ({error}); remove it, or use another --out"),
        }),
    }
}
