//! What a run has written about itself: `stage.json`, `metrics.jsonl` and `evaluation.json` in its stages' folders.
//!
//! Only the fields that are compared are read, here and not by the engine's own readers: those come with tensors, and a
//! sweep needs none.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::io;
use crate::{Result, SweepError};

/// A finished run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Its stages, in the recipe's order.
    pub stages: Vec<FoundStage>,
}

/// One of its stages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundStage {
    /// Its name.
    pub name: String,
    /// Training loss by step, nats a token.
    pub losses: Vec<(u64, f64)>,
    /// From the median time of a step.
    pub tokens_per_second: Option<f64>,
    /// Loss on held-out text at the end, nats a token, and the tokens it is the mean of, by category.
    pub held_out: BTreeMap<String, (f64, u64)>,
    /// Loss by position of its last checkpoint.
    pub positions: Vec<Position>,
    /// What its last checkpoint finds in long texts.
    pub retrieval: Vec<Retrieved>,
}

/// Mean loss at some positions of documents.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Position {
    /// The first position.
    pub from: usize,
    /// The position after the last.
    pub to: usize,
    /// Nats a token.
    pub loss: f64,
}

/// The score of a long-context task.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Retrieved {
    /// The task.
    pub task: String,
    /// Tokens of the text.
    pub length: usize,
    /// From 0 to 1.
    pub score: f64,
}

#[derive(Deserialize)]
struct StageJson {
    tokens_per_step: u64,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line {
    Step {
        step: u64,
        loss: Option<f64>,
        seconds: f64,
    },
    HeldOut {
        category: String,
        /// Nothing if it was no number.
        nats_per_token: Option<f64>,
        tokens: u64,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct EvaluationJson {
    #[serde(default)]
    loss_by_position: Vec<Position>,
    #[serde(default)]
    long_context: Vec<Retrieved>,
    #[serde(default)]
    held_out: BTreeMap<String, TextLoss>,
}

#[derive(Deserialize)]
struct TextLoss {
    nats_per_token: f64,
    tokens: u64,
}

impl Found {
    /// Reads the stages of these names in the folder of a run.
    ///
    /// # Errors
    /// A file cannot be read. What is not there is left out.
    pub fn read(folder: &Path, stages: &[&str]) -> Result<Self> {
        let mut found = Self::default();
        for name in stages {
            let folder = folder.join(name);
            if folder.is_dir() {
                found.stages.push(FoundStage::read(name, &folder)?);
            }
        }
        Ok(found)
    }
}

impl FoundStage {
    fn read(name: &str, folder: &Path) -> Result<Self> {
        let mut stage = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let mut seconds = Vec::new();
        // The engine may be writing the last line.
        let lines = text(&folder.join("metrics.jsonl"))?.unwrap_or_default();
        for line in lines.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Step {
                    step,
                    loss,
                    seconds: taken,
                } => {
                    stage.losses.extend(loss.map(|loss| (step, loss)));
                    seconds.push(taken);
                }
                // The last phase's is the last.
                Line::HeldOut {
                    category,
                    nats_per_token,
                    tokens,
                } => {
                    let loss = nats_per_token.unwrap_or(f64::NAN);
                    stage.held_out.insert(category, (loss, tokens));
                }
                Line::Other => {}
            }
        }
        seconds.sort_by(f64::total_cmp);
        if let (Some(info), Some(median)) = (
            json::<StageJson>(&folder.join("stage.json"))?,
            seconds.get(seconds.len() / 2),
        ) && *median > 0.0
        {
            stage.tokens_per_second = Some(info.tokens_per_step as f64 / median);
        }
        if let Some(evaluation) = json::<EvaluationJson>(&folder.join("evaluation.json"))? {
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
        let (nats, tokens) = self
            .held_out
            .values()
            .fold((0.0, 0), |(nats, all), (loss, tokens)| {
                (nats + loss * *tokens as f64, all + tokens)
            });
        (tokens > 0).then(|| nats / tokens as f64)
    }
}

fn text(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", path)(error)),
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = text(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| SweepError::File {
            path: path.to_owned(),
            message: error.to_string(),
        })
}
