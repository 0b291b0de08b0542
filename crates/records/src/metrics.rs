//! `metrics.jsonl`: one JSON object a line, `{"kind": "step", …}` or `{"kind": "held-out", …}`.
//!
//! A run that resumes from an earlier step first drops the lines of later steps, so the file always tells one history.
//! `incidents.jsonl` beside it is only appended to, and `stage.json` says what the stage is.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::{write_atomically, write_json};
use smollm3_files::{LineFile, io, line};

use crate::error::{Result, read_json};
use crate::events::{HeldOutRecord, IncidentKind, MeasureRecord, StageInfo, StepRecord};
use crate::listener::{Event, Listener};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// A step.
    Step(StepRecord),
    /// A held-out loss.
    HeldOut(HeldOutRecord),
    /// Something else that was measured.
    Measured(MeasureRecord),
}

impl Record {
    fn step(&self) -> u64 {
        match self {
            Self::Step(record) => record.step,
            Self::HeldOut(record) => record.step,
            Self::Measured(record) => record.step,
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
    let stage: Option<StageInfo> = read_json(&stage_folder.join(STAGE))?;
    Ok(stage.map(|stage| StageInfo {
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
    // As bytes: a line may have been cut off within a character.
    for line in BufReader::new(file).split(b'\n') {
        records.extend(serde_json::from_slice(&line.map_err(io("read", path))?));
    }
    Ok(records)
}

/// Writes the metrics and the incidents of each stage that starts. A full disk does not end the run.
#[derive(Debug, Default)]
pub struct Metrics {
    files: Option<Files>,
    /// Incidents before the stage starts, such as damaged checkpoints.
    early: Vec<Incident>,
}

#[derive(Debug)]
struct Files {
    stage: StageInfo,
    metrics: LineFile,
    incidents: LineFile,
}

impl Metrics {
    fn start(&mut self, stage: &StageInfo, done: u64) -> Result<()> {
        let folder = &stage.folder;
        let kept: String = read_metrics(folder)?
            .iter()
            // A stage that starts over keeps nothing, not even what was measured before its first step.
            .filter(|record| done > 0 && record.step() <= done)
            .map(line)
            .collect();
        let path = folder.join(METRICS);
        write_atomically(&path, kept.as_bytes())?;
        write_json(&folder.join(STAGE), stage)?;
        let mut files = Files {
            stage: stage.clone(),
            metrics: LineFile::append_to(&path)?,
            incidents: LineFile::append_to(&folder.join(INCIDENTS))?,
        };
        self.early.drain(..).for_each(|early| files.incidents.add(&early));
        self.files = Some(files);
        Ok(())
    }

    /// Gives `stage.json` the steps that the stage has in the end.
    fn ended_early(&mut self, step: u64) -> Result<()> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        let mut stage = files.stage.clone();
        stage.steps = step;
        stage.phases.retain(|phase| phase.first <= step);
        stage
            .phases
            .iter_mut()
            .for_each(|phase| phase.last = phase.last.min(step));
        Ok(write_json(&stage.folder.join(STAGE), &stage)?)
    }

    fn incident(&mut self, step: u64, kind: IncidentKind) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let incident = Incident {
            time: time.as_secs(),
            step,
            kind,
        };
        match &mut self.files {
            Some(files) => files.incidents.add(&incident),
            None => self.early.push(incident),
        }
    }

    fn runs(&self, stage: &str) -> bool {
        self.files.as_ref().is_some_and(|files| files.stage.name == stage)
    }

    fn write(&mut self, record: &Record) {
        if let Some(files) = &mut self.files {
            files.metrics.add(record);
        }
    }
}

/// Records an incident of a stage that does not run. [`Metrics`] has the file of the one that runs open, and may have to
/// complete a line of it.
///
/// # Errors
/// The file cannot be written to.
pub fn add_incident(stage_folder: &Path, incident: &Incident) -> Result<()> {
    fs::create_dir_all(stage_folder).map_err(io("create", stage_folder))?;
    let mut file = LineFile::append_to(&stage_folder.join(INCIDENTS))?;
    file.add(incident);
    Ok(file.finish()?)
}

impl Listener for Metrics {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::StageStarted { stage, done } => self.start(stage, *done)?,
            // The uploader records those of stages that do not run.
            Event::Incident {
                kind: IncidentKind::NotPushed { stage, .. },
                ..
            } if !self.runs(stage) => {}
            Event::Incident { step, kind } => self.incident(*step, kind.clone()),
            Event::Step(record) => self.write(&Record::Step(record.clone())),
            Event::HeldOut(record) => self.write(&Record::HeldOut(record.clone())),
            Event::Measured(record) => self.write(&Record::Measured(record.clone())),
            Event::EndedEarly { step, .. } => self.ended_early(*step)?,
            Event::StageEnded { .. } => {
                if let Some(mut files) = self.files.take() {
                    files.metrics.finish()?;
                    files.incidents.finish()?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
