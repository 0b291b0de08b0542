//! Rates measured by `smollm3 bench step`, stored for `smollm3 plan` as JSON lines in the user's cache folder.
//!
//! A rate applies to a machine, a backend and its device, a precision, a shape of the model, and to the settings of
//! recomputation and determinism. The model of the GPU is not recorded: another GPU in the same machine needs a new
//! measurement. The nearest sequence length is used, and the plan names it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};
use smollm3_engine::bench::{StepBench, StepSettings};
use smollm3_files::atomic_file::write_atomically;
use smollm3_files::locked_file::wait_locked;
use smollm3_files::{FilesError, io, line};
use smollm3_recipe::{ModelConfig, Precision, Recipe, Recompute, Stage, training_flops_per_token};

use crate::plan::{Machine, MeasuredRate};

/// What a rate applies to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Setup {
    /// Processor and threads.
    machine: String,
    backend: String,
    /// The device, as [`canonical`].
    device: String,
    precision: Precision,
    /// The sizes of the model.
    shape: String,
    recompute: Recompute,
    deterministic: bool,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rate {
    #[serde(flatten)]
    setup: Setup,
    sequence_length: u64,
    tokens_per_second: f64,
    /// `YYYY-MM-DD`.
    date: String,
}

/// Maximum number of stored rates.
const MOST: usize = 1_000;

fn file() -> Option<PathBuf> {
    let set = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("smollm3").join("rates.jsonl"))
}

/// The stored rates, without damaged lines.
fn stored(file: &Path) -> Result<Vec<Rate>, FilesError> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        bytes => bytes.map_err(io("read", file))?,
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    let rates = lines.filter_map(|line| serde_json::from_slice(line).ok());
    Ok(rates.collect())
}

/// Adds a rate to those in `file`, in place of an earlier one of the same setup and length. Other processes wait meanwhile.
fn store(file: &Path, new: Rate) -> Result<(), FilesError> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let path = file.with_extension("lock");
    let _lock = wait_locked(&path).map_err(io("lock", &path))?;
    let mut all = stored(file)?;
    all.retain(|old| old.setup != new.setup || old.sequence_length != new.sequence_length);
    all.push(new);
    let kept = all.iter().skip(all.len().saturating_sub(MOST));
    let text: String = kept.map(line).collect();
    write_atomically(file, text.as_bytes())
}

/// The processor of this machine.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let threads = available_parallelism().map_or(1, usize::from);
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

/// One name for a device with several: the default is `cpu`, and `cuda` is the first GPU.
fn canonical(backend: &str, device: Option<&str>) -> String {
    let name = match (backend, device) {
        ("wgpu", device) => device.unwrap_or("default"),
        (_, None) => "cpu",
        (_, Some("cuda")) => "cuda:0",
        (_, Some(device)) => device,
    };
    name.to_owned()
}

/// Stores a measured rate; returns the file, if there is a home folder.
///
/// # Errors
/// The file cannot be read or written.
pub fn store_rate(
    config: &ModelConfig,
    settings: &StepSettings,
    deterministic: bool,
    (backend, device): (&str, Option<&str>),
    found: &StepBench,
    date: String,
) -> Result<Option<PathBuf>, FilesError> {
    let Some(file) = file() else { return Ok(None) };
    let new = Rate {
        setup: Setup {
            machine: machine(),
            backend: backend.to_owned(),
            device: canonical(backend, device),
            precision: settings.precision,
            shape: shape(config),
            recompute: settings.recompute,
            deterministic,
        },
        sequence_length: settings.sequence_length as u64,
        tokens_per_second: found.tokens_per_second,
        date,
    };
    store(&file, new)?;
    Ok(Some(file))
}

/// The rate measured for a stage on this machine, at the nearest sequence length.
fn measured(
    recipe: &Recipe,
    config: &ModelConfig,
    stage: &Stage,
    machine: &str,
    rates: &[Rate],
) -> Option<MeasuredRate> {
    let length = match stage.preference() {
        Some(pairs) => pairs.row_length.0,
        None => stage.sequence_length()?.0,
    };
    let wanted = Setup {
        machine: machine.to_owned(),
        backend: recipe.run.backend.name().to_owned(),
        device: canonical(recipe.run.backend.name(), recipe.run.device.as_deref()),
        precision: recipe.run.precision,
        shape: shape(config),
        recompute: stage.recompute(),
        deterministic: recipe.run.deterministic,
    };
    let distance = |rate: &Rate| (rate.sequence_length as f64 / length as f64).ln().abs();
    let nearest = rates
        .iter()
        .filter(|rate| rate.setup == wanted && rate.sequence_length > 0)
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let flops = training_flops_per_token(config, nearest.sequence_length);
    Some(MeasuredRate {
        flops_per_second: nearest.tokens_per_second * flops,
        tokens_per_second: nearest.tokens_per_second,
        sequence_length: nearest.sequence_length,
        date: nearest.date.clone(),
    })
}

impl Machine {
    /// This machine: its cores, and the rates measured on it for the stages of a recipe.
    pub fn this(recipe: &Recipe, config: &ModelConfig) -> Self {
        // A plan without measured rates is a plan; `bench step` names a file that it cannot read.
        let rates = file().and_then(|file| stored(&file).ok());
        let (machine, rates) = (machine(), rates.unwrap_or_default());
        let rate = |stage: &Stage| {
            let rate = measured(recipe, config, stage, &machine, &rates)?;
            Some((stage.name.clone(), rate))
        };
        Self {
            cores: available_parallelism().ok().map(|cores| cores.get() as u64),
            rates: recipe.stages.iter().filter_map(rate).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(sequence_length: u64, tokens_per_second: f64) -> Rate {
        Rate {
            setup: Setup {
                machine: "one".to_owned(),
                backend: "flex".to_owned(),
                device: "cpu".to_owned(),
                precision: Precision::F32,
                shape: "small".to_owned(),
                recompute: Recompute::None,
                deterministic: true,
            },
            sequence_length,
            tokens_per_second,
            date: "2026-11-29".to_owned(),
        }
    }

    #[test]
    fn damaged_lines_cost_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/rates.jsonl");
        store(&file, rate(512, 1.0)).unwrap();
        store(&file, rate(1024, 1.0)).unwrap();
        let mut bytes = b"\xff\n{\n".to_vec();
        bytes.extend(fs::read(&file).unwrap());
        fs::write(&file, bytes).unwrap();
        store(&file, rate(512, 2.0)).unwrap();
        assert_eq!(stored(&file).unwrap(), [rate(1024, 1.0), rate(512, 2.0)]);
        // Nothing is written over a file that cannot be read.
        let error = store(&folder.path().join("deep"), rate(512, 1.0)).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
    }

    #[test]
    fn benches_that_end_together_lose_no_rate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rates.jsonl");
        std::thread::scope(|scope| {
            for length in 1..=16 {
                let file = &file;
                scope.spawn(move || store(file, rate(length, 1.0)).unwrap());
            }
        });
        assert_eq!(stored(&file).unwrap().len(), 16);
    }
}
