//! `metrics.jsonl`: one JSON object a line, `{"kind": "step", …}` or `{"kind": "held-out", …}`.
//!
//! A run that goes on from an earlier step first drops the lines of later steps, so the file always tells one
//! history.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::io;
use crate::{Event, HeldOutRecord, Listener, Result, StepRecord};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// A step.
    Step(StepRecord),
    /// A held-out loss.
    HeldOut(HeldOutRecord),
}

impl Record {
    fn step(&self) -> u64 {
        match self {
            Self::Step(record) => record.step,
            Self::HeldOut(record) => record.step,
        }
    }
}

/// Name of the file in a stage's folder.
pub const METRICS: &str = "metrics.jsonl";

/// Reads a stage's metrics; a last line that was cut off is left out.
///
/// # Errors
/// The file cannot be read. A missing file is an empty one.
pub fn read_metrics(stage_folder: &Path) -> Result<Vec<Record>> {
    let path = stage_folder.join(METRICS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = File::open(&path).map_err(io("read", &path))?;
    let mut records = Vec::new();
    for line in BufReader::new(file).lines() {
        records.extend(serde_json::from_str(&line.map_err(io("read", &path))?));
    }
    Ok(records)
}

/// Writes the metrics of each stage that starts.
#[derive(Debug, Default)]
pub struct Metrics {
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl Metrics {
    fn open(&mut self, stage_folder: &Path, done: u64) -> Result<()> {
        let kept: Vec<Record> = read_metrics(stage_folder)?
            .into_iter()
            .filter(|record| record.step() <= done)
            .collect();
        fs::create_dir_all(stage_folder).map_err(io("create", stage_folder))?;
        let path = stage_folder.join(METRICS);
        let draft = stage_folder.join(format!(".{METRICS}.part"));
        let mut text = String::new();
        for record in &kept {
            text.push_str(&line(record));
        }
        fs::write(&draft, text).map_err(io("write", &draft))?;
        fs::rename(&draft, &path).map_err(io("rename", &draft))?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(io("open", &path))?;
        self.file = Some((path, BufWriter::new(file)));
        Ok(())
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        match &mut self.file {
            None => Ok(()),
            Some((path, file)) => file
                .write_all(line(record).as_bytes())
                .and_then(|()| file.flush())
                .map_err(io("write", path)),
        }
    }
}

fn line(record: &Record) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

impl Listener for Metrics {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::StageStarted { folder, done, .. } => self.open(folder, *done),
            Event::Step(record) => self.write(&Record::Step(record.clone())),
            Event::HeldOut(record) => self.write(&Record::HeldOut(record.clone())),
            Event::StageEnded { .. } => {
                self.file = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
