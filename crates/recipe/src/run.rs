//! Settings of the run as a whole: `[run]`, `[data]`, `[tokenizer]`, `[plan]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults::{whole_number, yes};
use crate::error::{Problem, RecipeError, ensure};
use crate::keys::add_sources_file;
use crate::push::{Push, license};
use crate::section::{Section, unknown};
use crate::start::{PLACES, Start};
use crate::units::{Bytes, Percent};

/// `[run]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The run's name.
    pub name: String,
    /// The seed of initialisation and of the order of data.
    pub seed: u64,
    /// The run's output folder, relative to the current folder.
    pub output: PathBuf,
    /// The backend.
    #[serde(default)]
    pub backend: Backend,
    /// The device, by the backend's name for it; the default device when absent.
    #[serde(default)]
    pub device: Option<String>,
    /// The type of matrix products.
    #[serde(default)]
    pub precision: Precision,
    /// The state that is sharded over ranks.
    #[serde(default)]
    pub shard: Sharding,
    /// Whether a run gives the same bits every time on the same device and libraries. Without it, attention's backward pass
    /// on CUDA is faster but sums in no fixed order.
    #[serde(default = "yes")]
    pub deterministic: bool,
    /// Uploads to the Hub during the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    /// The licence that model cards name, as the Hub spells it, such as `apache-2.0`.
    #[serde(
        default,
        deserialize_with = "license",
        skip_serializing_if = "Option::is_none"
    )]
    pub license: Option<String>,
}

/// The state of which each rank holds a shard (ZeRO: Rajbhandari et al. 2020, arXiv:1910.02054).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sharding {
    /// The optimizer's moments (ZeRO-1): gradients are summed once a step.
    #[default]
    Optimizer,
    /// Gradients too (ZeRO-2): less memory, but gradients are summed for every micro-batch.
    Gradients,
}

/// A backend of Burn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Pure Rust on the CPU.
    #[default]
    Flex,
    /// LibTorch on CPU, CUDA or MPS.
    Tch,
    /// Any GPU over Vulkan, Metal or DirectX 12, in f32.
    Wgpu,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Flex, Self::Tch, Self::Wgpu];

    /// Its name, as recipes and the command line spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Tch => "tch",
            Self::Wgpu => "wgpu",
        }
    }
}

/// The type of weights and activations in matrix products; reductions, masters and moments are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16 with f32 masters.
    Bf16,
}

impl Precision {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = add_sources_file)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The fraction of the documents to hold out of training, chosen by a hash of their text.
    #[serde(default)]
    pub held_out: Percent,
    /// Held-out rows of each source that the loss at the end of each phase is measured on, at most; 0: it is not measured.
    #[serde(default = "whole_number::<u64, 64>", skip_serializing)]
    #[schemars(extend("default" = 64))]
    pub held_out_rows: u64,
    /// How the sources of a mixture are interleaved.
    #[serde(default)]
    pub order: Order,
    /// How often a document may be seen; a source can override it.
    #[serde(default = "whole_number::<u32, 1>", skip_serializing)]
    #[schemars(extend("default" = 1))]
    pub max_epochs: u32,
    /// How rows without usable text are treated.
    #[serde(default)]
    pub bad_rows: BadRows,
    /// How the documents in a row are told apart.
    #[serde(default)]
    pub documents: DocumentStarts,
    /// The folder for copies of remote files; `cache` in the run's folder when absent. Processes with the same folder share
    /// it.
    #[serde(default, skip_serializing)]
    pub cache: Option<PathBuf>,
    /// The most bytes that copies of one source take there, over all processes.
    #[serde(default = "cache_size", skip_serializing)]
    #[schemars(extend("default" = "50GB"))]
    pub cache_size: Bytes,
}

fn cache_size() -> Bytes {
    Bytes(50_000_000_000)
}

/// How the documents in a row are told apart; attention does not cross from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentStarts {
    /// By the index of its token store.
    #[default]
    Store,
    /// By the tokenizer's end-of-text token, as in the original: a document begins after each.
    EndOfText,
    /// Not at all: a row is one document.
    Ignored,
}

/// How rows without usable text are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BadRows {
    /// The first one is an error that names its file and line.
    #[default]
    Stop,
    /// They are left out and counted.
    Skip,
}

/// How the sources of a mixture are interleaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// In every prefix each source has its share to within one sequence; any step is found directly.
    #[default]
    Even,
    /// The original's blend; finding a step replays all steps before it.
    Greedy,
}

/// `[tokenizer]`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// A `tokenizer.json`, or a folder with one, relative to the recipe's folder.
    File(PathBuf),
    /// That of a model on the Hub, or of a folder.
    Pretrained(String),
    /// A new one, trained on the run's own text.
    Train(TrainTokenizer),
}

/// `[tokenizer.train]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainTokenizer {
    /// Entries of the vocabulary, special tokens included.
    pub vocab_size: u32,
    /// The amount of text to train on.
    pub bytes: Bytes,
    /// The sources to train on; all when empty.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Whether each digit is a token, as in SmolLM2; otherwise numbers of up to three digits can be one, as in SmolLM3.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub single_digits: bool,
}

impl Tokenizer {
    /// `of_model` is the default: the tokenizer of the checkpoint in `[model]`, if there is one.
    pub(crate) fn read(mut section: Section<'_>, of_model: Option<Self>) -> Result<Self, RecipeError> {
        const CHOICE: &str = "a tokenizer comes from one of `file`, `pretrained` and [tokenizer.train]";
        let given = ["file", "pretrained", "train"]
            .into_iter()
            .filter(|key| section.has(key));
        if given.count() > 1 {
            return Err(section.error("", format!("{CHOICE}; keep one of them")));
        }
        let tokenizer = if let Some(file) = section.optional("file")? {
            Some(Self::File(file))
        } else if let Some(text) = section.optional::<String>("pretrained")? {
            let places = PLACES.replacen("a folder", "a folder or a file", 1);
            let message = format!("`{text}` is not a tokenizer; {places}");
            Some(Self::pretrained(&text).ok_or_else(|| section.error("pretrained", message))?)
        } else {
            section.optional("train")?.map(Self::Train).or(of_model)
        };
        section.finish()?;
        tokenizer.ok_or_else(|| section.error("", format!("{CHOICE}; write one of them")))
    }

    /// A path or a Hub id, as in `from`.
    fn pretrained(text: &str) -> Option<Self> {
        match Start::checkpoint(text)? {
            Start::Folder(path) => Some(Self::File(path)),
            Start::Hub(id) => Some(Self::Pretrained(id)),
            Start::Random | Start::Stage(_) => None,
        }
    }
}

/// `[plan]`: assumptions about the machines. They affect the plan only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// The number of devices, each one rank.
    pub devices: u64,
    /// The number of devices of individual stages, by name, where it differs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stage_devices: BTreeMap<String, u64>,
    /// The peak rate of one device in TFLOP/s, at the run's precision.
    pub peak_tflops: Option<f64>,
    /// The memory of one device, such as `"80GB"`: the plan warns of stages that come close to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// The fraction of the peak that training reaches (model FLOPs utilisation).
    pub mfu: f64,
    /// The cost of the original run for the stages on text, to compare an estimate with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRun>,
}

/// Devices whose data sheets the estimate knows.
pub const DEVICES: [&str; 3] = ["h100", "h200", "a100-80g"];

/// `plan.original`: the cost of a run, as its authors state it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OriginalRun {
    /// The number of its devices.
    pub devices: u64,
    /// Their kind: `h100`, `h200` or `a100-80g`.
    pub device: String,
    /// Its days.
    pub days: f64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            devices: 1,
            stage_devices: BTreeMap::new(),
            peak_tflops: None,
            memory: None,
            mfu: 0.3,
            original: None,
        }
    }
}

impl Cluster {
    /// The devices of the stage of this name.
    pub fn devices_of(&self, stage: &str) -> u64 {
        self.stage_devices.get(stage).copied().unwrap_or(self.devices)
    }

    pub(crate) fn read(mut section: Section<'_>, stages: &[&str]) -> Result<Self, RecipeError> {
        let cluster: Self = section.rest()?;
        cluster
            .check(stages)
            .map_err(|problem| section.problem(problem))?;
        Ok(cluster)
    }
    fn check(&self, stages: &[&str]) -> Result<(), Problem> {
        const NONE: &str = "0 devices compute nothing; write 1 or more";
        for (name, devices) in &self.stage_devices {
            let check = || {
                if !stages.contains(&name.as_str()) {
                    return Err(Problem::at(name, unknown("stage", name, stages)));
                }
                ensure!(*devices > 0, name, "{NONE}");
                Ok(())
            };
            check().map_err(|problem| problem.below("stage_devices"))?;
        }
        ensure!(self.devices > 0, "devices", "{NONE}");
        let (peak, mfu) = (self.peak_tflops.unwrap_or(1.0), self.mfu);
        let is_peak = peak.is_finite() && peak > 0.0;
        ensure!(
            is_peak,
            "peak_tflops",
            "the peak must be a positive number of TFLOP/s"
        );
        let is_part = mfu > 0.0 && mfu <= 1.0;
        ensure!(
            is_part,
            "mfu",
            "{mfu} is not a fraction of the peak; write a number above 0, at most 1"
        );
        let Some(OriginalRun {
            devices,
            device,
            days,
        }) = &self.original
        else {
            return Ok(());
        };
        if !DEVICES.contains(&device.as_str()) {
            return Err(Problem::at("device", unknown("device", device, &DEVICES)).below("original"));
        }
        let is_run = *devices > 0 && days.is_finite() && *days > 0.0;
        ensure!(
            is_run,
            "original",
            "a run takes some devices and some days; write positive numbers"
        );
        Ok(())
    }
}
