//! The result of each item as a line of `items.jsonl`, written as it is found: a stopped evaluation resumes from it, and answers
//! can be read.
//!
//! ```text
//! OUT/settings.json   what was asked, of which weights, on which data
//!     items.jsonl     one line an item; in the order of the items once all are there
//!     results.json    settings and results
//!     results.md      the same for people
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use smollm3_files::atomic_file::{is_vacant, write_atomically};
use smollm3_files::io;
use smollm3_files::locked_file::open_locked;

use crate::{EvalError, Result};

const SETTINGS: &str = "settings.json";
const ITEMS: &str = "items.jsonl";

/// The records of an evaluation, by the index of their item, in memory and, where there is a folder, in its file.
#[derive(Debug)]
pub struct ItemLog<R> {
    records: BTreeMap<u64, R>,
    kept: Option<(PathBuf, File)>,
}

#[derive(Serialize, Deserialize)]
struct LogLine<R> {
    item: u64,
    #[serde(flatten)]
    record: R,
}

impl<R: Serialize + DeserializeOwned> ItemLog<R> {
    /// Records that are kept in memory only.
    pub fn in_memory() -> Self {
        Self {
            records: BTreeMap::new(),
            kept: None,
        }
    }

    /// The records in `folder`, which is made if it is not there, and locked.
    ///
    /// # Errors
    /// The folder holds something else or what was found with other settings, another process works in it, or it cannot be
    /// read or written.
    pub fn open(folder: &Path, settings: &Map<String, Value>) -> Result<Self> {
        claim(folder, settings)?;
        let path = folder.join(ITEMS);
        let Some(mut file) = open_locked(&path).map_err(io("open", &path))? else {
            return Err(EvalError::Locked {
                folder: folder.to_owned(),
            });
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read", &path))?;
        // A kill may leave a line without its end: its item is done again.
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        bytes.truncate(whole);
        file.set_len(whole as u64).map_err(io("write", &path))?;
        file.seek(SeekFrom::End(0)).map_err(io("read", &path))?;
        let mut records = BTreeMap::new();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let LogLine { item, record } =
                serde_json::from_slice(line).map_err(|error| EvalError::Results {
                    path: path.clone(),
                    problem: format!("line {}: {error}", number + 1),
                })?;
            records.insert(item, record);
        }
        Ok(Self {
            records,
            kept: Some((path, file)),
        })
    }

    /// Whether an item has its record.
    pub fn has(&self, item: u64) -> bool {
        self.records.contains_key(&item)
    }

    /// The records, by item.
    pub fn records(&self) -> &BTreeMap<u64, R> {
        &self.records
    }

    /// Adds records; those of items that already have one are ignored.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn add(&mut self, records: impl IntoIterator<Item = (u64, R)>) -> Result<()> {
        let mut text = Vec::new();
        for (item, record) in records {
            if self.records.contains_key(&item) {
                continue;
            }
            let line = LogLine { item, record };
            append(&mut text, &line)?;
            self.records.insert(item, line.record);
        }
        match &mut self.kept {
            Some((path, file)) => Ok(file.write_all(&text).map_err(io("write", path))?),
            None => Ok(()),
        }
    }

    /// Writes the results, and the records in the order of their items.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self, results: &Value, markdown: &str) -> Result<()> {
        let Some((path, file)) = self.kept else {
            return Ok(());
        };
        let mut text = Vec::new();
        for (item, record) in self.records {
            append(&mut text, &LogLine { item, record })?;
        }
        // The lock belongs to the old file: it must not be taken for one on the new file.
        write_atomically(&path, &text)?;
        drop(file);
        let write = |name: &str, text: &str| write_atomically(&path.with_file_name(name), text.as_bytes());
        write("results.json", &format!("{results:#}\n"))?;
        Ok(write("results.md", markdown)?)
    }
}

fn append(text: &mut Vec<u8>, line: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *text, line).map_err(|error| EvalError::Results {
        path: ITEMS.into(),
        problem: error.to_string(),
    })?;
    text.push(b'\n');
    Ok(())
}

/// Makes sure that the folder is one of an evaluation with these settings.
fn claim(folder: &Path, settings: &Map<String, Value>) -> Result<()> {
    let path = folder.join(SETTINGS);
    if !path.exists() {
        if !is_vacant(folder)? {
            return Err(EvalError::NotOurs {
                folder: folder.to_owned(),
            });
        }
        let settings = Value::Object(settings.clone());
        return Ok(write_atomically(&path, format!("{settings:#}\n").as_bytes())?);
    }
    let text = fs::read_to_string(&path).map_err(io("read", &path))?;
    let found: Map<String, Value> = serde_json::from_str(&text).map_err(|error| EvalError::Results {
        path: path.clone(),
        problem: error.to_string(),
    })?;
    let keys = settings
        .keys()
        .chain(found.keys().filter(|key| !settings.contains_key(*key)));
    let show = |value: Option<&Value>| value.map_or("(absent)".to_owned(), Value::to_string);
    let differences: Vec<String> = keys
        .filter(|key| settings.get(*key) != found.get(*key))
        .map(|key| {
            format!(
                "  {key}: {} here, {} there",
                show(settings.get(key)),
                show(found.get(key))
            )
        })
        .collect();
    match differences.is_empty() {
        true => Ok(()),
        false => Err(EvalError::OtherSettings {
            folder: folder.to_owned(),
            differences: differences.join("\n"),
        }),
    }
}
