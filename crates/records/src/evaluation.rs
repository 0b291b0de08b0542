//! `evaluation.json`: what was measured of a stage's last checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;
use smollm3_recipe::{Evaluation as Asked, ProbeTask};

use crate::error::{RecordError, Result, read_json};
use crate::events::mean_and_error;
use crate::mode::ModeScore;

const FILE: &str = "evaluation.json";

/// What was measured of one checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The checkpoint's manifest, hashed, so that another checkpoint is noticed.
    pub checkpoint: String,
    /// Its steps.
    pub step: u64,
    /// What was asked, so that a change is noticed.
    pub asked: Asked,
    /// Probes.
    pub long_context: Vec<ProbeScore>,
    /// Loss on held-out documents.
    pub loss_by_position: Vec<PositionLoss>,
    /// Sums, of a checkpoint with a chat template.
    pub exact_match: Vec<ModeScore>,
    /// Loss on text kept out of training, by category.
    pub held_out: BTreeMap<String, TextLoss>,
    /// Right sums preferred to wrong ones, of a checkpoint with a chat template.
    pub preference: Vec<ModeScore>,
}

/// Loss on text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextLoss {
    /// Nats a token.
    pub nats_per_token: f64,
    /// Bits a byte.
    pub bits_per_byte: f64,
    /// Tokens predicted.
    pub tokens: u64,
}

/// How well a model does a task at one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeScore {
    /// The task.
    pub task: ProbeTask,
    /// Tokens of a prompt with its answer.
    pub length: usize,
    /// Probes.
    pub items: u32,
    /// Mean part of the answers that were given, 0 to 1.
    pub score: f64,
    /// Standard error of that mean.
    pub standard_error: f64,
}

impl ProbeScore {
    /// The mean of `scores`, each from 0 to 1.
    pub fn of(task: ProbeTask, length: usize, scores: &[f64]) -> Self {
        let (score, standard_error) = mean_and_error(scores);
        Self {
            task,
            length,
            items: scores.len() as u32,
            score,
            standard_error,
        }
    }
}

/// Mean loss of the tokens at some positions of long documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionLoss {
    /// The first position, from 0.
    pub from: usize,
    /// The position after the last.
    pub to: usize,
    /// Nats a token.
    pub loss: f64,
    /// Standard error of that mean, over documents.
    pub standard_error: f64,
    /// Documents.
    pub documents: usize,
}

/// Writes it into a stage's folder.
///
/// # Errors
/// It cannot be written.
pub fn write_evaluation(folder: &Path, evaluation: &Evaluation) -> Result<()> {
    Ok(write_json(&folder.join(FILE), evaluation)?)
}

/// What an earlier evaluation left in a stage's folder.
///
/// # Errors
/// The file cannot be read.
pub fn read_evaluation(folder: &Path) -> Result<Option<Evaluation>> {
    read_json(&folder.join(FILE)).map_err(|error| match error {
        RecordError::Content { path, problem } => RecordError::Content {
            path,
            problem: format!("{problem}; remove the file to measure again"),
        },
        error => error,
    })
}
