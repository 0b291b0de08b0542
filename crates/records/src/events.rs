//! What is recorded of a stage: what it is, its steps, its measurements, its incidents.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::fault::Fault;

/// One training step, as it is written to `metrics.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step in the stage, from 1.
    pub step: u64,
    /// Phase of the stage.
    pub phase: String,
    /// Tokens seen in the stage, this step included.
    pub tokens: u64,
    /// Mean loss, nats a token; `null` in the file if it is not a number.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// Learning rate of this step's update.
    pub learning_rate: f64,
    /// Gradient norm before clipping; `null` in the file if it is not a number.
    #[serde(deserialize_with = "number_or_null")]
    pub grad_norm: f64,
    /// Seconds the step took.
    pub seconds: f64,
    /// Seconds of them spent waiting for data.
    pub data_seconds: f64,
    /// Whether the update was made; absent where it was.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub updated: bool,
    /// The cost of communication between ranks; absent with one rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collectives: Option<CollectiveRecord>,
    /// The part of each source by name.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceRecord>,
    /// Further means over the targets, by name; absent if there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub observed: BTreeMap<String, f64>,
}

/// The cost of a step's communication between ranks, as rank 0 saw it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CollectiveRecord {
    /// How many ranks there are.
    pub ranks: u64,
    /// Seconds in them, waiting for slower ranks included.
    pub seconds: f64,
    /// Seconds of them that overlapped with the backward pass, and so cost the step nothing; unknown for sums between
    /// devices.
    #[serde(default)]
    pub hidden: f64,
    /// Bytes sent to other ranks.
    pub bytes: u64,
}

/// The unit of losses in every stage whose losses are of tokens.
pub const NATS_PER_TOKEN: &str = "nats/token";

fn nats_per_token() -> String {
    NATS_PER_TOKEN.to_owned()
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_true(value: &bool) -> bool {
    *value
}

/// JSON has finite numbers only.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// One source in one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Rows.
    pub rows: u64,
    /// Mean loss, nats a token; `null` in the file if it is not a number.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// Targets that it is the mean of.
    pub targets: u64,
}

/// What a stage is: `stage.json` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageInfo {
    /// Its name.
    pub name: String,
    /// Its folder.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Steps in all.
    pub steps: u64,
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Tokens of a row.
    pub sequence_length: u64,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// Model FLOPs of one token, forward and backward.
    pub flops_per_token: f64,
    /// Peak FLOP/s of all devices, if the recipe states it.
    pub peak_flops: Option<f64>,
    /// The unit of losses.
    #[serde(default = "nats_per_token")]
    pub loss_unit: String,
    /// In the order in which rows name them.
    pub sources: Vec<SourceName>,
    /// In order.
    pub phases: Vec<PhaseInfo>,
}

/// A source of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceName {
    /// Its name.
    pub name: String,
    /// Its category.
    pub category: String,
}

/// A phase of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseInfo {
    /// Its name.
    pub name: String,
    /// Its first step.
    pub first: u64,
    /// Its last step.
    pub last: u64,
    /// The fraction of its sequences that each source is to give.
    pub shares: BTreeMap<String, f64>,
}

/// A row of a step: which window of which source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowRef {
    /// The source.
    pub source: String,
    /// The window of its token store.
    pub window: u64,
}

/// Something that should not have happened, or that readers of the curves must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum IncidentKind {
    /// A step with a loss or a norm out of the ordinary.
    Fault {
        /// What is wrong.
        fault: Fault,
        /// Its loss.
        #[serde(deserialize_with = "number_or_null")]
        loss: f64,
        /// Its gradient norm.
        #[serde(deserialize_with = "number_or_null")]
        grad_norm: f64,
        /// Whether the update was made nevertheless.
        updated: bool,
        /// Its rows.
        rows: Vec<RowRef>,
    },
    /// After too many steps without an update, the run went back to the checkpoint of step `to` and skips the data
    /// between.
    WentBack {
        /// That checkpoint's step.
        to: u64,
    },
    /// An attempt to write a checkpoint failed; others follow.
    NotSaved {
        /// Why.
        error: String,
    },
    /// A checkpoint was not uploaded to the Hub; the run goes on.
    NotPushed {
        /// The stage in whose folder it is recorded; it need not be the one that runs.
        #[serde(skip)]
        stage: String,
        /// Why.
        error: String,
    },
    /// A measurement is not a number.
    NotFinite {
        /// The figure and its value.
        figure: String,
    },
    /// A checkpoint differs from its manifest.
    Damaged {
        /// Its folder and what is wrong.
        fault: String,
    },
    /// The run goes on with a different `run.deterministic`, so that repeating all of it with either will not give the same
    /// bits.
    Determinism {
        /// What it is from here on.
        deterministic: bool,
    },
}

impl std::fmt::Display for IncidentKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault {
                fault,
                loss,
                grad_norm,
                updated,
                ..
            } => {
                let update = if *updated { "trained on" } else { "left out" };
                write!(
                    f,
                    "{fault} (loss {loss:.3}, gradient norm {grad_norm:.3}); {update}"
                )
            }
            Self::WentBack { to } => {
                write!(
                    f,
                    "went back to the checkpoint of step {to}; the data since then is left out"
                )
            }
            Self::NotSaved { error } => write!(
                f,
                "the checkpoint could not be written and is tried again: {error}"
            ),
            Self::NotPushed { error, .. } => write!(f, "the checkpoint is not on the Hub: {error}"),
            Self::NotFinite { figure } => write!(
                f,
                "the {figure}: the model's weights are damaged, or its numbers overflow in this precision"
            ),
            Self::Damaged { fault } => write!(f, "passed over a damaged checkpoint: {fault}"),
            Self::Determinism { deterministic } => write!(
                f,
                "goes on with run.deterministic = {deterministic}, where it was {} before: the whole run cannot be repeated \
                 bit for bit",
                !deterministic
            ),
        }
    }
}

/// Loss on text kept out of training, at the end of a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOutRecord {
    /// Steps done.
    pub step: u64,
    /// Phase that just ended.
    pub phase: String,
    /// Category of sources.
    pub category: String,
    /// Nats a token; `null` in the file if it is not a number.
    #[serde(deserialize_with = "number_or_null")]
    pub nats_per_token: f64,
    /// Bits a byte of text; `null` in the file if it is not a number.
    #[serde(deserialize_with = "number_or_null")]
    pub bits_per_byte: f64,
    /// Tokens predicted.
    pub tokens: u64,
}

/// Something measured on what is kept out of training, other than a loss of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureRecord {
    /// Steps done.
    pub step: u64,
    /// Phase that just ended, or `start`.
    pub phase: String,
    /// What was measured.
    pub name: String,
    /// Its mean; `null` in the file if it is not a number.
    #[serde(deserialize_with = "number_or_null")]
    pub value: f64,
    /// Standard error of the mean; `null` in the file if it is not a number.
    #[serde(deserialize_with = "number_or_null")]
    pub standard_error: f64,
    /// What it is the mean of.
    pub items: u64,
}

impl MeasureRecord {
    /// The mean of `values`.
    pub fn mean(step: u64, phase: &str, name: &str, values: &[f64]) -> Self {
        let (value, standard_error) = mean_and_error(values);
        Self {
            step,
            phase: phase.to_owned(),
            name: name.to_owned(),
            value,
            standard_error,
            items: values.len() as u64,
        }
    }
}

/// The mean of `values` and its standard error; 0 where there are too few.
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let items = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / items;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (items - 1.0).max(1.0) / items).sqrt())
}
