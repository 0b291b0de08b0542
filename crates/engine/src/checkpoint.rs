//! Checkpoints: a Hugging Face folder with the optimizer's state and a manifest, complete or absent.
//!
//! A checkpoint is written under a temporary name, synced, and renamed, so a folder called `step-…` is whole unless it was
//! changed afterwards; the manifest (length and blake3 of every file) shows that.

mod manifest;
mod moment_shard;
mod retention;
mod same_data;
mod save_job;
mod stage_checkpoints;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;
use smollm3_collective::Collective;
use smollm3_files::atomic_file::{sync_folder, write_json};
use smollm3_files::{FileHashes, io, plain_files};
use smollm3_hub::{read_pins, write_pins};
use smollm3_model::hf::{self, FileDtype, NamedTensor, TensorFiles, write_shards};
use smollm3_model::{ModelConfig, SmolLm3};
use smollm3_recipe::{ADAPTER_FOLDER, Optimizer, PEFT_CONFIG};

use crate::{AdamW, EngineError, Result, TrainState};
use manifest::seal;
use moment_shard::MomentShard;

pub use crate::step::OPTIMIZER;
pub use manifest::verify;
pub(crate) use manifest::verify_some;
pub use retention::Retention;
pub(crate) use retention::is_due;
pub use same_data::{FROZEN, check_data};
pub use save_job::SaveJob;
pub(crate) use save_job::Saver;
pub use smollm3_records::checkpoint::{Progress, folder_name, identity, last, list, read_state};
pub use stage_checkpoints::{Checkpointer, ResumePoint, StageCheckpoints};

/// PEFT's name.
const ADAPTERS: &str = "adapter_model";
/// Shards of optimizer state, the size that transformers uses for weights.
const SHARD_BYTES: usize = 5_000_000_000;

/// A checkpoint in host memory, to be written while the device continues.
pub struct Snapshot {
    /// The architecture.
    pub config: ModelConfig,
    /// `generation_config.json`.
    pub generation: Value,
    /// Where the stage is.
    pub progress: Progress,
    /// Its files are copied into the checkpoint.
    pub tokenizer_folder: PathBuf,
    weights: Vec<NamedTensor>,
    moments: Vec<NamedTensor>,
    /// Adapters and their `adapter_config.json`, in PEFT's form; the weights have them merged in.
    adapters: Option<(Vec<NamedTensor>, Value)>,
    /// Which shard of the moments these are, if there are several ranks.
    shard: Option<MomentShard>,
}

impl Snapshot {
    /// Copies weights and moments from the device. Rank 0 copies the weights, every rank its moments.
    /// `peft` is the `adapter_config.json` of a stage that trains adapters.
    pub fn take(
        state: &TrainState,
        (config, generation): (ModelConfig, Value),
        progress: Progress,
        tokenizer_folder: PathBuf,
        peft: Option<Value>,
        ranks: &dyn Collective,
    ) -> Self {
        let fetched = |mut tensors: Vec<NamedTensor>| {
            tensors.iter_mut().for_each(NamedTensor::fetch);
            tensors
        };
        let is_first = ranks.rank() == 0;
        Self {
            config,
            generation,
            progress,
            tokenizer_folder,
            weights: match &peft {
                _ if !is_first => Vec::new(),
                None => fetched(hf::tensors(&state.model, FileDtype::F32)),
                Some(_) => fetched(hf::tensors(&state.model.merged(), FileDtype::F32)),
            },
            adapters: peft
                .filter(|_| is_first)
                .map(|config| (fetched(adapter_tensors(&state.model)), config)),
            moments: fetched(state.optimizer.state()),
            shard: (ranks.world() > 1).then(|| MomentShard {
                rank: ranks.rank(),
                world: ranks.world(),
                limit: ranks.time_limit(),
            }),
        }
    }
}

/// Writes the checkpoint of `snapshot.progress.step` into `stage_folder` and returns its folder. Ranks above 0 write their
/// moments, which rank 0 takes into the checkpoint.
///
/// # Errors
/// A file cannot be written, or another rank's is missing; nothing is left under the checkpoint's name then.
pub fn save(stage_folder: &Path, snapshot: &Snapshot) -> Result<PathBuf> {
    let step = snapshot.progress.step;
    if let Some(shard) = snapshot.shard {
        shard.write(stage_folder, step, &snapshot.moments)?;
        if shard.rank > 0 {
            return Ok(stage_folder.join(folder_name(step)));
        }
        // Tidying must not fail a checkpoint; what stays is removed at the next start.
        let _ = MomentShard::clear_others(stage_folder, step);
    }
    let saved = publish(stage_folder, &snapshot.progress, |draft| {
        fs::create_dir(draft).map_err(io("create", draft))?;
        write(draft, snapshot)?;
        match snapshot.shard {
            Some(shard) => shard.gather(stage_folder, step, draft),
            None => Ok(write_shards(draft, OPTIMIZER, &snapshot.moments, SHARD_BYTES)?),
        }
    })?;
    if snapshot.shard.is_some() {
        MomentShard::clear(stage_folder, step)?;
    }
    Ok(saved)
}

/// Makes a checkpoint of the files that `write` puts into a new folder.
///
/// # Errors
/// A file cannot be written, or as `write`; nothing is left under the checkpoint's name then.
pub fn publish(
    stage_folder: &Path,
    progress: &Progress,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let target = stage_folder.join(folder_name(progress.step));
    let draft = stage_folder.join(format!(".{}.part", folder_name(progress.step)));
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(io("remove", &draft))?;
    }
    fs::create_dir_all(stage_folder).map_err(io("create", stage_folder))?;
    if let Err(error) = write(&draft)
        .and_then(|()| record_commits(stage_folder, &draft))
        .and_then(|()| seal(&draft, progress))
    {
        // The error that matters is the first; a draft that cannot be removed is overwritten next time.
        let _ = fs::remove_dir_all(&draft);
        return Err(error);
    }
    if target.exists() {
        fs::remove_dir_all(&target).map_err(io("replace", &target))?;
    }
    fs::rename(&draft, &target).map_err(io("rename", &draft))?;
    sync_folder(stage_folder)?;
    Ok(target)
}

/// Copies the commits of the models on the Hub that the run has on record.
fn record_commits(stage_folder: &Path, draft: &Path) -> Result<()> {
    let pins = stage_folder.parent().map(read_pins).transpose()?;
    Ok(write_pins(draft, &pins.unwrap_or_default())?)
}

fn write(folder: &Path, snapshot: &Snapshot) -> Result<()> {
    hf::save_tensors(folder, &snapshot.config, &snapshot.weights, FileDtype::F32)?;
    write_json(&folder.join("generation_config.json"), &snapshot.generation)?;
    if let Some((adapters, config)) = &snapshot.adapters {
        let own = folder.join(ADAPTER_FOLDER);
        fs::create_dir(&own).map_err(io("create", &own))?;
        write_shards(&own, ADAPTERS, adapters, usize::MAX)?;
        write_json(&own.join(PEFT_CONFIG), config)?;
    }
    let tokenizer_folder = &snapshot.tokenizer_folder;
    for file in plain_files(tokenizer_folder)? {
        let (from, to) = (tokenizer_folder.join(&file), folder.join(&file));
        fs::copy(&from, &to).map_err(io("copy", &from))?;
    }
    Ok(())
}

/// The result of [`newest`]: the newest whole checkpoint, and the names and faults of newer ones that are damaged.
pub type Newest = (Option<(Progress, PathBuf)>, Vec<String>);

/// The newest whole checkpoint of a stage for which `wanted` is true, and the names and faults of damaged ones. Files that
/// `hashes` knows are not read.
///
/// # Errors
/// The folder cannot be listed.
pub fn newest(
    stage_folder: &Path,
    hashes: &FileHashes,
    wanted: impl Fn(&Progress) -> bool,
) -> Result<Newest> {
    let mut damaged = Vec::new();
    for (_, folder) in list(stage_folder)?.into_iter().rev() {
        match verify(&folder, hashes) {
            Ok(progress) if wanted(&progress) => return Ok((Some((progress, folder)), damaged)),
            Ok(_) => {}
            Err(fault) => damaged.push(format!("{}: {fault}", folder.display())),
        }
    }
    Ok((None, damaged))
}

/// Removes a checkpoint.
///
/// # Errors
/// It cannot be removed.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    // Renamed first: a half-removed checkpoint must never pass for a whole one.
    let grave = folder.with_extension("removed");
    fs::rename(folder, &grave).map_err(io("remove", folder))?;
    Ok(fs::remove_dir_all(&grave).map_err(io("remove", &grave))?)
}

fn adapter_tensors(model: &SmolLm3) -> Vec<NamedTensor> {
    let adapters = model.adapters().into_iter();
    adapters
        .map(|(name, _, value)| NamedTensor::later(name, value, FileDtype::F32))
        .collect()
}

/// The adapters of a checkpoint.
///
/// # Errors
/// A file is missing or damaged.
fn adapter_files(folder: &Path) -> Result<TensorFiles> {
    let own = folder.join(ADAPTER_FOLDER);
    // Versions up to 0.2 wrote them into the checkpoint's own folder.
    let folder = if own.is_dir() { &own } else { folder };
    Ok(TensorFiles::open(folder, ADAPTERS)?)
}

/// The optimizer's state of a checkpoint, for another stage to continue with. Reads this rank's shard of the moments.
///
/// # Errors
/// The checkpoint has none, or one that does not fit the configuration.
pub fn load_optimizer(
    folder: &Path,
    config: &ModelConfig,
    optimizer: &Optimizer,
    device: &Device,
    ranks: &dyn Collective,
) -> Result<AdamW> {
    let progress = read_state(folder).map_err(|fault| {
        EngineError::Refused(format!(
            "{}: optimizer_state = \"keep\" needs the moments of a training checkpoint: {fault}; write \"fresh\"",
            folder.display()
        ))
    })?;
    let shapes = config.parameter_shapes();
    AdamW::restore(optimizer, progress.updates, &shapes, folder, device, ranks)
}

/// Removes checkpoints that a killed process left half-written or half-removed.
///
/// # Errors
/// A folder cannot be listed or removed.
pub fn sweep(stage_folder: &Path) -> Result<()> {
    remove_folders(stage_folder, |name| {
        let unfinished = name.starts_with(".step-") && name.ends_with(".part");
        unfinished || name.starts_with("step-") && name.ends_with(".removed")
    })
}

/// Removes the folders in `stage_folder` whose names are `unwanted`.
fn remove_folders(stage_folder: &Path, unwanted: impl Fn(&str) -> bool) -> Result<()> {
    if !stage_folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(stage_folder).map_err(io("list", stage_folder))? {
        let path = entry.map_err(io("list", stage_folder))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() && unwanted(name) {
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
    }
    Ok(())
}
