//! What a run has left in its folder.

use std::fs;
use std::path::{Path, PathBuf};

use smollm3_files::list;
use smollm3_records::{
    Evaluation, HeldOutRecord, Incident, Ledger, MeasureRecord, Record, RecordError, Result, StageInfo,
    StepRecord, best_step, checkpoint, read_evaluation, read_incidents, read_ledger, read_metrics,
    read_stage,
};

use crate::pipeline::{self, PlannedStage};

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunFiles {
    /// The folder.
    pub folder: PathBuf,
    /// The stages of its recipe; empty where the folder has no recipe.
    pub plan: Vec<PlannedStage>,
    /// The stages that have been started, in the recipe's order.
    pub stages: Vec<StageFiles>,
}

/// A stage's folder.
#[derive(Debug, Clone)]
pub struct StageFiles {
    /// What it is.
    pub info: StageInfo,
    /// Its steps, in order.
    pub steps: Vec<StepRecord>,
    /// Held-out losses.
    pub held_out: Vec<HeldOutRecord>,
    /// Other measurements on held-out data.
    pub measured: Vec<MeasureRecord>,
    /// Incidents, in the order in which they happened.
    pub incidents: Vec<Incident>,
    /// Where the tokens of its conversations went, if it has any.
    pub ledger: Option<Ledger>,
    /// What was measured of its last checkpoint.
    pub evaluation: Option<Evaluation>,
    /// Steps and folders of its checkpoints, whether whole or not.
    pub checkpoints: Vec<(u64, PathBuf)>,
    /// The step of its best checkpoint, where that stands for the stage.
    pub best: Option<u64>,
}

impl RunFiles {
    /// Reads what is there now; the run may be going on.
    ///
    /// # Errors
    /// The folder is not that of a run, or a file in it cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut stages = Vec::new();
        for path in list(folder)? {
            if let Some(info) = read_stage(&path)? {
                let file = fs::metadata(path.join("stage.json"));
                let started = file.and_then(|file| file.modified()).ok();
                stages.push((started, StageFiles::read(info)?));
            }
        }
        if stages.is_empty() {
            return Err(RecordError::Refused(format!(
                "{}: no stage has been started in this folder; give the folder that `run.output` names",
                folder.display()
            )));
        }
        let plan = pipeline::read(folder)?;
        let place = |stage: &StageFiles| {
            let place = plan.iter().position(|planned| planned.name == stage.info.name);
            place.unwrap_or(plan.len())
        };
        for (_, stage) in &mut stages {
            let planned = plan.get(place(stage));
            let loads_best = planned.is_some_and(|planned| planned.loads_best);
            stage.best = loads_best.then(|| best_step(&stage.checkpoints)).flatten();
        }
        stages.sort_by_key(|(started, stage)| (place(stage), *started, stage.info.name.clone()));
        Ok(Self {
            folder: folder.to_owned(),
            plan,
            stages: stages.into_iter().map(|(_, stage)| stage).collect(),
        })
    }

    /// The stage of this name, if it has been started.
    pub fn stage(&self, name: &str) -> Option<&StageFiles> {
        self.stages.iter().find(|stage| stage.info.name == name)
    }

    /// The folder's own name.
    pub fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or(self.folder.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

impl StageFiles {
    fn read(info: StageInfo) -> Result<Self> {
        let (mut steps, mut held_out, mut measured) = (Vec::new(), Vec::new(), Vec::new());
        for record in read_metrics(&info.folder)? {
            match record {
                Record::Step(record) => steps.push(record),
                Record::HeldOut(record) => held_out.push(record),
                Record::Measured(record) => measured.push(record),
            }
        }
        Ok(Self {
            incidents: read_incidents(&info.folder)?,
            checkpoints: checkpoint::list(&info.folder)?,
            ledger: read_ledger(&info.folder)?,
            evaluation: read_evaluation(&info.folder)?,
            best: None,
            steps,
            held_out,
            measured,
            info,
        })
    }

    /// Whether all its steps are done; for a merge, whether it has a checkpoint.
    pub fn is_done(&self) -> bool {
        match self.info.steps {
            0 => !self.checkpoints.is_empty(),
            steps => self.done() >= steps,
        }
    }

    /// The last step done.
    pub fn done(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.step)
    }

    /// Median seconds of the last steps.
    pub fn seconds_per_step(&self) -> Option<f64> {
        const LAST: usize = 50;
        let last = self.steps.iter().rev().take(LAST);
        let mut times: Vec<f64> = last.map(|step| step.seconds).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }

    /// Seconds of all its steps.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }

    /// Seconds that the steps left will take.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.info.steps.saturating_sub(self.done());
        Some(left as f64 * self.seconds_per_step()?)
    }

    /// Model FLOPs per second as a fraction of the peak, in percent, if the peak is known.
    pub fn mfu_percent(&self) -> Option<f64> {
        let rate = self.tokens_per_second()? * self.info.flops_per_token;
        Some(100.0 * rate / self.info.peak_flops?)
    }

    /// Tokens a second over the last steps.
    pub fn tokens_per_second(&self) -> Option<f64> {
        Some(self.info.tokens_per_step as f64 / self.seconds_per_step()?)
    }
}
