//! A run: a recipe, its output folder, its data, its device.

mod adapters;
mod checks;
mod claim;
mod frozen;
mod hub_models;
mod parents;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use burn::tensor::{DType, Device};
use serde_json::Value;
use smollm3_collective::{Collective, Single, agree};
use smollm3_files::FileHashes;
use smollm3_hub::{Depth, write_pins};
use smollm3_kernels::computes_bf16;
use smollm3_model::ModelConfig;
use smollm3_model::hf::{CheckpointError, generation_json};
use smollm3_recipe::{Precision, Recipe, Stage, StageData, Start};
use smollm3_records::{Listener, stage_result};
use smollm3_sources::Data;

use crate::checkpoint::{self, verify_some};
use crate::ranks::{from_rank_zero, on_rank_zero, program, with_device_collective};
use crate::{EngineError, Result};
use adapters::{merge_adapters, use_merged};
use checks::{check_rows, check_vocabularies, with_token_ids};
use claim::{Lock, claim};
use hub_models::locate_for_ranks;

pub use adapters::write_merged;
pub(crate) use frozen::{base_name, open_same};
pub use hub_models::locate_models;

/// A recipe on a device, with its data prepared.
pub struct Run {
    /// The recipe.
    pub recipe: Recipe,
    /// The architecture, its token ids those of the tokenizer.
    pub config: ModelConfig,
    /// Tokenizer and token stores.
    pub data: Data,
    /// The device, without autodiff.
    pub device: Device,
    /// The output folder.
    pub output: PathBuf,
    /// The ranks that run it, of which this is one.
    pub ranks: Arc<dyn Collective>,
    /// Hashes of files that this rank has read.
    pub hashes: FileHashes,
    /// The checkpoint of each stage, as far as rank 0 has announced it.
    announced: Mutex<BTreeMap<String, PathBuf>>,
    /// Keeps other processes out of the folder; rank 0 holds it.
    _lock: Option<Lock>,
}

impl Run {
    /// Opens or creates the output folder and prepares tokenizer and data, for one process alone.
    ///
    /// # Errors
    /// The folder belongs to another recipe, the device or the precision is not available, or the data cannot be
    /// prepared.
    pub fn open(recipe: Recipe, listener: &mut dyn Listener) -> Result<Self> {
        let device = recipe.run.device.clone();
        Self::open_as(Arc::new(Single::default()), device.as_deref(), recipe, listener)
    }

    /// [`open`](Self::open) for one of several ranks, each on its own device. Rank 0 prepares the data, the others wait for
    /// it.
    ///
    /// # Errors
    /// As [`open`](Self::open); ranks that were started with different recipes or programs, or that cannot share the rows
    /// of a step.
    pub fn open_as(
        ranks: Arc<dyn Collective>,
        device: Option<&str>,
        recipe: Recipe,
        listener: &mut dyn Listener,
    ) -> Result<Self> {
        let mut recipe = recipe;
        if ranks.world() > 1 {
            let items = [
                ("program", program()),
                ("recipe", recipe.fingerprint()),
                ("settings", recipe.settings_fingerprint()),
            ];
            agree(&*ranks, &items)?;
            recipe.check_ranks(ranks.world() as u64)?;
        }
        let backend = recipe.run.backend.name();
        if recipe.run.precision == Precision::Bf16 && !computes_bf16(backend) {
            return Err(EngineError::Refused(format!(
                "run.precision = \"bf16\": the backend {backend} computes in f32 only; write precision = \"f32\", or \
                 backend = \"tch\""
            )));
        }
        let device = smollm3_kernels::device(backend, device)?;
        smollm3_kernels::set_deterministic(recipe.run.deterministic);
        let ranks = with_device_collective(ranks, &device)?;
        let commits = locate_for_ranks(&mut recipe, &*ranks, listener)?;
        let config = recipe.architecture()?;
        check_rows(&recipe, &config)?;
        let output = recipe.run.output.clone();
        let prepared = on_rank_zero(&*ranks, || {
            let lock = claim(&recipe, &output)?;
            write_pins(&output, &commits)?;
            merge_adapters(&recipe, Depth::Weights, listener)?;
            use_merged(&mut recipe);
            let data = Data::prepare(&recipe, &output, listener)?;
            Ok::<_, EngineError>((lock, data))
        })?;
        use_merged(&mut recipe);
        let (lock, data) = match prepared {
            Some((lock, data)) => (Some(lock), data),
            None => {
                let data = Data::found(&recipe, &output)?.ok_or_else(|| {
                    EngineError::Refused(format!(
                        "{}: {} does not see what rank 0 has prepared there; run.output must be a folder that all nodes share",
                        output.display(),
                        ranks.place(ranks.rank())
                    ))
                })?;
                (None, data)
            }
        };
        let config = with_token_ids(config, &data)?;
        check_vocabularies(&recipe, &data)?;
        Ok(Self {
            recipe,
            config,
            data,
            device,
            output,
            ranks,
            hashes: FileHashes::default(),
            announced: Mutex::default(),
            _lock: lock,
        })
    }

    /// The dtype of matrix products.
    pub fn precision(&self) -> DType {
        dtype(self.recipe.run.precision)
    }

    /// The folder of a stage.
    pub fn stage_folder(&self, stage: &str) -> PathBuf {
        self.output.join(stage)
    }

    /// The architecture that a stage trains: that of the checkpoint it starts from, with the RoPE theta and the length
    /// that the stage sets.
    ///
    /// # Errors
    /// The checkpoint is not there or cannot be read.
    pub fn stage_config(&self, stage: &Stage) -> Result<ModelConfig> {
        let mut config = match self.start_folder(stage)? {
            None => self.config.clone(),
            Some(folder) => ModelConfig {
                bos_token_id: self.config.bos_token_id,
                eos_token_id: self.config.eos_token_id,
                ..ModelConfig::from_hf_file(&folder.join("config.json")).map_err(CheckpointError::from)?
            },
        };
        let Some(training) = stage.training() else {
            return Ok(config);
        };
        let rows = training.sequence_length.0 as usize;
        if let StageData::LongContext(long) = &stage.data {
            config.rope_theta = long.rope_theta;
            config.max_position_embeddings = config.max_position_embeddings.max(rows);
        }
        Ok(config)
    }

    /// `generation_config.json` of the checkpoints of a stage with this architecture.
    ///
    /// # Errors
    /// As [`stage_config`](Self::stage_config).
    pub fn generation_json(&self, stage: &Stage, config: &ModelConfig) -> Result<Value> {
        let from = self.start_folder(stage)?;
        let json = generation_json(config, from.as_deref()).map_err(CheckpointError::from)?;
        Ok(json)
    }

    /// The checkpoint that a stage starts from, if there is one.
    fn start_folder(&self, stage: &Stage) -> Result<Option<PathBuf>> {
        Ok(match &stage.from {
            Start::Stage(earlier) => Some(self.last_checkpoint(stage, earlier)?),
            start => self.recipe.checkpoint_folder(start),
        })
    }

    /// The folder of a checkpoint that `stage` starts from or is compared with.
    ///
    /// # Errors
    /// It has none, or the stage that makes it has not run.
    pub fn checkpoint_of(&self, stage: &Stage, start: &Start) -> Result<PathBuf> {
        if let Start::Stage(earlier) = start {
            return self.last_checkpoint(stage, earlier);
        }
        self.recipe.checkpoint_folder(start).ok_or_else(|| {
            EngineError::Refused(format!("stage \"{}\": it starts from no checkpoint", stage.name))
        })
    }

    /// [`checkpoint_of`](Self::checkpoint_of) for a stage that reads its weights, which rank 0 checks. All ranks call it.
    ///
    /// # Errors
    /// As `checkpoint_of` and [`check_whole`](Self::check_whole).
    pub fn whole_checkpoint(&self, stage: &Stage, start: &Start) -> Result<PathBuf> {
        let folder = self.checkpoint_of(stage, start)?;
        on_rank_zero(&*self.ranks, || self.check_whole(stage, &folder))?;
        Ok(folder)
    }

    /// Compares each file of a checkpoint that `stage` needs with its manifest, if it has one.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn check_whole(&self, stage: &Stage, folder: &Path) -> Result<()> {
        self.check(stage, folder, |_| true)
    }

    /// [`check_whole`](Self::check_whole) of the files for whose names `wanted` is true.
    pub(crate) fn check(&self, stage: &Stage, folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        if checkpoint::identity(folder)?.is_none() {
            return Ok(());
        }
        let fault = match verify_some(folder, &self.hashes, wanted) {
            Ok(_) => return Ok(()),
            Err(fault) => fault,
        };
        Err(EngineError::Refused(format!(
            "stage \"{}\" needs {}, which is damaged: {fault}; restore or remove it. Where it is of this run, the same command \
             then makes it again from the checkpoint before it",
            stage.name,
            folder.display()
        )))
    }

    /// The steps of a stage that has been trained to its end; `None` of any other. Only `state.json` of the newest checkpoint
    /// is read: the weights are compared with their manifest by the stage that needs them.
    ///
    /// # Errors
    /// The stage's folder cannot be listed; a rank that is late or gone.
    pub fn finished(&self, stage: &Stage) -> Result<Option<u64>> {
        from_rank_zero(&*self.ranks, || {
            let found = checkpoint::last(&self.stage_folder(&stage.name))?;
            Ok::<_, EngineError>(found.and_then(|(progress, _)| {
                let steps = match progress.steps {
                    // Written by an earlier version.
                    0 => stage.planned()?.total_steps(),
                    steps => steps,
                };
                (steps > 0 && progress.step == steps).then_some(steps)
            }))
        })
    }

    /// The newest checkpoint of the stage that `stage` starts from, or its best where that stage says so; the one that
    /// rank 0 has announced, if any ([`verify_parents`](Self::verify_parents)). None of its files is read.
    ///
    /// # Errors
    /// It has none.
    pub fn last_checkpoint(&self, stage: &Stage, earlier: &str) -> Result<PathBuf> {
        if let Some(announced) = self.announced().get(earlier) {
            return Ok(announced.clone());
        }
        let folder = self.stage_folder(earlier);
        stage_result(self.recipe.stage(earlier)?, &folder)?.ok_or_else(|| {
            EngineError::Refused(format!(
                "stage \"{}\" starts from \"{earlier}\", which has no checkpoint in {}; run it first",
                stage.name,
                folder.display()
            ))
        })
    }
}

/// The dtype of matrix products.
pub fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

/// The part of a run before it needs a device: tokenizers and templates of the Hub, the output folder, the tokenizer and the
/// token stores.
///
/// # Errors
/// A model of the Hub is not available, the folder belongs to another recipe, or the data cannot be prepared.
pub fn prepare(recipe: &mut Recipe, listener: &mut dyn Listener) -> Result<Data> {
    let commits = locate_models(recipe, Depth::Text, listener)?;
    let output = recipe.run.output.clone();
    let _lock = claim(recipe, &output)?;
    write_pins(&output, &commits)?;
    merge_adapters(recipe, Depth::Text, listener)?;
    use_merged(recipe);
    Ok(Data::prepare(recipe, &output, listener)?)
}
