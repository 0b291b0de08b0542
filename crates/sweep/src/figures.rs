//! What is compared of a run: from `stage.json`, `metrics.jsonl` and `evaluation.json` in its stages' folders.

use std::collections::BTreeMap;
use std::path::Path;

use smollm3_records::{PositionLoss, ProbeScore, Record, read_evaluation, read_metrics, read_stage};

use crate::Result;

/// A finished run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFigures {
    /// Its stages, in the recipe's order.
    pub stages: Vec<StageFigures>,
}

/// One of its stages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageFigures {
    /// Its name.
    pub name: String,
    /// Training loss by step, nats a token.
    pub losses: Vec<(u64, f64)>,
    /// From the median time of a step.
    pub tokens_per_second: Option<f64>,
    /// Loss on held-out text at the end, nats a token, and the tokens it is the mean of, by category.
    pub held_out: BTreeMap<String, (f64, u64)>,
    /// Loss by position of its last checkpoint.
    pub positions: Vec<PositionLoss>,
    /// What its last checkpoint finds in long texts.
    pub retrieval: Vec<ProbeScore>,
}

impl RunFigures {
    /// Reads the stages of these names in the folder of a run.
    ///
    /// # Errors
    /// A file cannot be read. What is not there is left out.
    pub fn read<'n>(folder: &Path, stages: impl IntoIterator<Item = &'n str>) -> Result<Self> {
        let mut found = Self::default();
        for name in stages {
            let folder = folder.join(name);
            if folder.is_dir() {
                found.stages.push(StageFigures::read(name, &folder)?);
            }
        }
        Ok(found)
    }
}

impl StageFigures {
    fn read(name: &str, folder: &Path) -> Result<Self> {
        let mut stage = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let mut seconds = Vec::new();
        for record in read_metrics(folder)? {
            match record {
                Record::Step(step) => {
                    let loss = (!step.loss.is_nan()).then_some((step.step, step.loss));
                    stage.losses.extend(loss);
                    seconds.push(step.seconds);
                }
                // The last phase comes last.
                Record::HeldOut(record) => {
                    let loss = (record.nats_per_token, record.tokens);
                    stage.held_out.insert(record.category, loss);
                }
                Record::Measured(_) => {}
            }
        }
        seconds.sort_by(f64::total_cmp);
        if let (Some(info), Some(median)) = (read_stage(folder)?, seconds.get(seconds.len() / 2))
            && *median > 0.0
        {
            stage.tokens_per_second = Some(info.tokens_per_step as f64 / median);
        }
        if let Some(evaluation) = read_evaluation(folder)? {
            stage.positions = evaluation.loss_by_position;
            stage.retrieval = evaluation.long_context;
            // Measured on rows of one length in all stages, if it was asked for.
            if !evaluation.held_out.is_empty() {
                let losses = evaluation.held_out.into_iter();
                stage.held_out = losses
                    .map(|(category, loss)| (category, (loss.nats_per_token, loss.tokens)))
                    .collect();
            }
        }
        Ok(stage)
    }

    /// Loss over all categories, each token counted once.
    pub fn held_out_overall(&self) -> Option<f64> {
        let losses = self.held_out.values();
        let (nats, tokens) = losses.fold((0.0, 0), |(nats, all), (loss, tokens)| {
            (nats + loss * *tokens as f64, all + tokens)
        });
        (tokens > 0).then(|| nats / tokens as f64)
    }
}
