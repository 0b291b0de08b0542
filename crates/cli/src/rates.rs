//! What `smollm3 bench step` measured, kept for `smollm3 plan`: one line of JSON a measurement, in the user's cache folder.
//!
//! A rate holds for a machine, a backend and its device, a precision, a shape of the model, whether layers are computed again, and
//! whether sums have one order. Which GPU it was is not known: another one in the same machine needs another measurement. Of other
//! lengths of rows the nearest is taken, and the plan says of which it is.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use smollm3_engine::bench::{StepBench, StepSettings};
use smollm3_estimate::MeasuredRate;
use smollm3_files::atomic_file::write_atomically;
use smollm3_recipe::{ModelConfig, Precision, Recipe, Recompute, Stage, training_flops_per_token};

/// What a rate is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Setup {
    /// The processor and its threads.
    machine: String,
    backend: String,
    /// The device, under one of its names ([`one_name`]).
    device: String,
    precision: Precision,
    /// The sizes of the model.
    shape: String,
    recompute: Recompute,
    deterministic: bool,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    setup: Setup,
    sequence_length: u64,
    tokens_per_second: f64,
    /// `YYYY-MM-DD`.
    date: String,
}

/// Measurements that are kept.
const MOST: usize = 1_000;

fn file() -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("smollm3").join("rates.jsonl"))
}

/// All that can be read.
fn lines() -> Vec<Line> {
    let text = file()
        .and_then(|file| fs::read_to_string(file).ok())
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The processor of this machine.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {threads} threads")
}

fn shape(config: &ModelConfig) -> String {
    format!(
        "{} layers of {}, MLP {}, heads {}/{} of {}, vocabulary {}",
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.vocab_size
    )
}

/// A device that can be written in two ways, in one: `cpu` is taken where none is written, and `cuda` is the first GPU.
fn one_name(backend: &str, device: Option<&str>) -> String {
    let name = match (backend, device) {
        ("wgpu", device) => device.unwrap_or("default"),
        (_, None) => "cpu",
        (_, Some("cuda")) => "cuda:0",
        (_, Some(device)) => device,
    };
    name.to_owned()
}

/// Keeps what was measured; returns the file.
///
/// # Errors
/// It cannot be written.
pub fn keep(
    config: &ModelConfig,
    settings: &StepSettings,
    deterministic: bool,
    backend: &str,
    device: Option<&str>,
    found: &StepBench,
    date: String,
) -> Result<Option<PathBuf>> {
    let Some(file) = file() else { return Ok(None) };
    let line = Line {
        setup: Setup {
            machine: machine(),
            backend: backend.to_owned(),
            device: one_name(backend, device),
            precision: settings.precision,
            shape: shape(config),
            recompute: settings.recompute,
            deterministic,
        },
        sequence_length: settings.sequence_length as u64,
        tokens_per_second: found.tokens_per_second,
        date,
    };
    let mut all = lines();
    all.retain(|old| old.setup != line.setup || old.sequence_length != line.sequence_length);
    all.push(line);
    let first = all.len().saturating_sub(MOST);
    let mut text = String::new();
    for line in &all[first..] {
        text += &serde_json::to_string(line)?;
        text.push('\n');
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    write_atomically(&file, text.as_bytes())?;
    Ok(Some(file))
}

/// The rate that was measured for a stage on this machine, at the nearest length of its rows.
pub fn measured(recipe: &Recipe, config: &ModelConfig, stage: &Stage) -> Option<MeasuredRate> {
    let length = match stage.preference() {
        Some(pairs) => pairs.row_length.0,
        None => stage.sequence_length()?.0,
    };
    let wanted = Setup {
        machine: machine(),
        backend: recipe.run.backend.name().to_owned(),
        device: one_name(recipe.run.backend.name(), recipe.run.device.as_deref()),
        precision: recipe.run.precision,
        shape: shape(config),
        recompute: stage.recompute(),
        deterministic: recipe.run.deterministic,
    };
    let far = |line: &Line| (line.sequence_length as f64 / length as f64).ln().abs();
    let nearest = lines()
        .into_iter()
        .filter(|line| line.setup == wanted && line.sequence_length > 0)
        .min_by(|a, b| far(a).total_cmp(&far(b)))?;
    let flops = training_flops_per_token(config, nearest.sequence_length);
    Some(MeasuredRate {
        flops_per_second: nearest.tokens_per_second * flops,
        tokens_per_second: nearest.tokens_per_second,
        sequence_length: nearest.sequence_length,
        date: nearest.date,
    })
}
