//! `metrics.jsonl`: one JSON object a line, `{"kind": "step", …}` or `{"kind": "held-out", …}`.
//!
//! A run that goes on from an earlier step first drops the lines of later steps, so the file always tells one
//! history. `incidents.jsonl` beside it is only ever added to, and `stage.json` says what the stage is.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::write_json;
use crate::error::io;
use crate::{EngineError, Event, HeldOutRecord, IncidentKind, Listener, Result, StageInfo, StepRecord};

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

/// Names of the files in a stage's folder.
const METRICS: &str = "metrics.jsonl";
const INCIDENTS: &str = "incidents.jsonl";
const STAGE: &str = "stage.json";

/// One line of `incidents.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// When it happened, seconds since 1970.
    pub time: u64,
    /// At which step.
    pub step: u64,
    /// What.
    #[serde(flatten)]
    pub kind: IncidentKind,
}

/// What `stage.json` tells, if the stage has been started.
///
/// # Errors
/// The file cannot be read.
pub fn read_stage(stage_folder: &Path) -> Result<Option<StageInfo>> {
    let path = stage_folder.join(STAGE);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(io("read", &path))?;
    let stage: StageInfo = serde_json::from_slice(&text)
        .map_err(|error| EngineError::Refused(format!("{}: {error}", path.display())))?;
    Ok(Some(StageInfo {
        folder: stage_folder.to_owned(),
        ..stage
    }))
}

/// Reads a stage's incidents.
///
/// # Errors
/// The file cannot be read. A missing file is an empty one.
pub fn read_incidents(stage_folder: &Path) -> Result<Vec<Incident>> {
    read_lines(&stage_folder.join(INCIDENTS))
}

/// Reads a stage's metrics; a last line that was cut off is left out.
///
/// # Errors
/// The file cannot be read. A missing file is an empty one.
pub fn read_metrics(stage_folder: &Path) -> Result<Vec<Record>> {
    read_lines(&stage_folder.join(METRICS))
}

/// One JSON value a line; lines that are none are left out.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = File::open(path).map_err(io("read", path))?;
    let mut records = Vec::new();
    for line in BufReader::new(file).lines() {
        records.extend(serde_json::from_str(&line.map_err(io("read", path))?));
    }
    Ok(records)
}

/// Writes the metrics and the incidents of each stage that starts.
#[derive(Debug, Default)]
pub struct Metrics {
    file: Option<(PathBuf, BufWriter<File>)>,
    stage_folder: Option<PathBuf>,
    /// Incidents of a stage that has not started yet, as damaged checkpoints.
    early: Vec<(u64, IncidentKind)>,
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

    fn start(&mut self, stage: &StageInfo, done: u64) -> Result<()> {
        self.open(&stage.folder, done)?;
        write_json(&stage.folder.join(STAGE), stage)?;
        self.stage_folder = Some(stage.folder.clone());
        for (step, kind) in std::mem::take(&mut self.early) {
            self.incident(step, kind)?;
        }
        Ok(())
    }

    fn incident(&mut self, step: u64, kind: IncidentKind) -> Result<()> {
        let Some(folder) = &self.stage_folder else {
            self.early.push((step, kind));
            return Ok(());
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let incident = Incident {
            time: time.as_secs(),
            step,
            kind,
        };
        let path = folder.join(INCIDENTS);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line(&incident).as_bytes()))
            .map_err(io("write", &path))
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

fn line(record: &impl Serialize) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

impl Listener for Metrics {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::StageStarted { stage, done } => self.start(stage, *done),
            Event::Incident { step, kind } => self.incident(*step, kind.clone()),
            Event::Step(record) => self.write(&Record::Step(record.clone())),
            Event::HeldOut(record) => self.write(&Record::HeldOut(record.clone())),
            Event::StageEnded { .. } => {
                self.file = None;
                self.stage_folder = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
