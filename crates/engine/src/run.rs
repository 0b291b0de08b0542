//! A run: a recipe, its output folder, its data, its device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, Device};
use smollm3_collective::{Collective, Single, agree};
use smollm3_hub::{Depth, write_pins};
use smollm3_kernels::computes_bf16;
use smollm3_model::ModelConfig;
use smollm3_recipe::{Precision, Recipe, Stage, StageData, Start, Training};
use smollm3_records::{Listener, stage_result};
use smollm3_sources::Data;

use crate::adapters::{merge_adapters, use_merged};
use crate::claim::{Lock, claim};
use crate::hub_models::{locate_for_ranks, locate_models};
use crate::known_checkpoints::KnownCheckpoints;
use crate::manifest::verify_some;
use crate::ranks::{between_devices, first, only_first, program};
use crate::share::check_shares;
use crate::{EngineError, Result, Share, checkpoint};

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
    /// Those that run it together, of which this is one.
    pub ranks: Arc<dyn Collective>,
    /// Checkpoints that have been verified.
    pub(crate) parents: KnownCheckpoints,
    /// Keeps other processes out of it; rank 0's.
    _lock: Option<Lock>,
}

impl Run {
    /// Opens or creates the output folder and prepares tokenizer and data, for one process alone.
    ///
    /// # Errors
    /// The folder belongs to another recipe, the device or the precision cannot be had, or the data cannot be
    /// prepared.
    pub fn open(recipe: Recipe, listener: &mut dyn Listener) -> Result<Self> {
        let device = recipe.run.device.clone();
        Self::open_as(Arc::new(Single::default()), device.as_deref(), recipe, listener)
    }

    /// [`open`](Self::open) for one of several ranks, on a device of its own. Rank 0 prepares what is to be prepared, the
    /// others wait for it.
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
        }
        check_shares(&recipe, ranks.world())?;
        let backend = recipe.run.backend.name();
        if recipe.run.precision == Precision::Bf16 && !computes_bf16(backend) {
            return Err(EngineError::Refused(format!(
                "run.precision = \"bf16\": the backend {backend} computes in f32 only; write precision = \"f32\", or \
                 backend = \"tch\""
            )));
        }
        let device = smollm3_kernels::device(backend, device)?;
        smollm3_kernels::set_deterministic(recipe.run.deterministic);
        let ranks = between_devices(ranks, &device)?;
        let commits = locate_for_ranks(&mut recipe, &*ranks, listener)?;
        let config = recipe.architecture()?;
        check_rows(&recipe, &config)?;
        let output = recipe.run.output.clone();
        let prepared = only_first(&*ranks, || {
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
            None => (None, found_by_rank(&recipe, &output, &*ranks)?),
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
            parents: KnownCheckpoints::default(),
            _lock: lock,
        })
    }

    /// The part of a stage's rows that this rank computes.
    ///
    /// # Errors
    /// They cannot be divided among the ranks.
    pub fn share(&self, stage: &Stage, training: &Training) -> Result<Share> {
        Share::new(&*self.ranks, stage, training)
    }

    /// Work that leaves something on disk, done by rank 0 and then by the others, who find it there.
    ///
    /// # Errors
    /// As `work`, or a rank that is late or gone.
    pub fn first<T, E: From<EngineError>>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        first(&*self.ranks, work)
    }

    /// Work of rank 0 that the others wait for; `None` for them.
    ///
    /// # Errors
    /// As `work`, or a rank that is late or gone.
    pub fn only_first<T, E: From<EngineError>>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<Option<T>, E> {
        only_first(&*self.ranks, work)
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
        let checkpoint = match &stage.from {
            Start::Stage(earlier) => Some(self.last_checkpoint(stage, earlier)?),
            start => self.recipe.checkpoint_folder(start),
        };
        let mut config = match checkpoint {
            None => self.config.clone(),
            Some(folder) => ModelConfig {
                bos_token_id: self.config.bos_token_id,
                eos_token_id: self.config.eos_token_id,
                ..ModelConfig::from_hf_file(&folder.join("config.json"))
                    .map_err(smollm3_model::hf::CheckpointError::from)?
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
        self.only_first(|| self.check_whole(stage, &folder))?;
        Ok(folder)
    }

    /// Compares each file of a checkpoint that `stage` needs with its manifest; without a manifest there is nothing to compare.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn check_whole(&self, stage: &Stage, folder: &Path) -> Result<()> {
        self.check(stage, folder, |_| true)
    }

    /// [`check_whole`](Self::check_whole) of all but weights and moments: what a stage reads at each start.
    pub(crate) fn check_texts(&self, stage: &Stage, folder: &Path) -> Result<()> {
        self.check(stage, folder, |name| !name.ends_with(".safetensors"))
    }

    fn check(&self, stage: &Stage, folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        if checkpoint::identity(folder)?.is_none() {
            return Ok(());
        }
        let fault = match verify_some(folder, self.hashes(), wanted) {
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
        self.from_first(|| {
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

    /// The newest checkpoint of the stage that `stage` starts from, or its best where that stage says so; the one that rank 0 has told of if it has
    /// ([`verify_parents`](Self::verify_parents)); none of its files is read.
    ///
    /// # Errors
    /// It has none.
    pub fn last_checkpoint(&self, stage: &Stage, earlier: &str) -> Result<PathBuf> {
        if let Some(told) = self.parents.of(earlier) {
            return Ok(told);
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

/// What rank 0 has prepared.
fn found_by_rank(recipe: &Recipe, output: &Path, ranks: &dyn Collective) -> Result<Data> {
    Data::found(recipe, output)?.ok_or_else(|| {
        EngineError::Refused(format!(
            "{}: {} does not see what rank 0 has prepared there; run.output must be a folder that all nodes share",
            output.display(),
            ranks.place(ranks.rank())
        ))
    })
}

/// What a run does before it needs a device: tokenizers and templates of the Hub, the output folder, the tokenizer and the
/// token stores.
///
/// # Errors
/// A model of the Hub cannot be had, the folder belongs to another recipe, or the data cannot be prepared.
pub fn prepare(recipe: &mut Recipe, listener: &mut dyn Listener) -> Result<Data> {
    let commits = locate_models(recipe, Depth::Text, listener)?;
    let output = recipe.run.output.clone();
    let _lock = claim(recipe, &output)?;
    write_pins(&output, &commits)?;
    merge_adapters(recipe, Depth::Text, listener)?;
    use_merged(recipe);
    Ok(Data::prepare(recipe, &output, listener)?)
}

/// Rows must fit the positions that RoPE is set for, which long-context stages move: those of the model that is trained,
/// and those of the one that it is compared with.
fn check_rows(recipe: &Recipe, config: &ModelConfig) -> Result<()> {
    let mut contexts: BTreeMap<&str, u64> = BTreeMap::new();
    for stage in &recipe.stages {
        let rows = stage.sequence_length().map_or(0, |length| length.0);
        let context_of = |start: &Start| -> Result<u64> {
            let known = match start {
                Start::Stage(earlier) => contexts.get(earlier.as_str()).copied(),
                start => recipe
                    .checkpoint_architecture(start)?
                    .map(|config| config.max_position_embeddings as u64),
            };
            Ok(known.unwrap_or(config.max_position_embeddings as u64))
        };
        let most = context_of(&stage.from)?;
        if !matches!(stage.data, StageData::LongContext(_)) && rows > most {
            return Err(EngineError::Refused(format!(
                "stage \"{}\": sequence_length = {rows} is longer than the model's max_position_embeddings = {most}; \
                 shorten it, or write kind = \"long-context\" with a larger rope_theta",
                stage.name
            )));
        }
        if let Some(reference) = stage.preference().and_then(|pairs| pairs.reference_from.as_ref()) {
            let most = context_of(reference)?;
            if rows > most {
                return Err(EngineError::Refused(format!(
                    "stage \"{}\": sequence_length = {rows} is longer than the reference's max_position_embeddings = \
                     {most}; shorten it, or take a reference with a longer context",
                    stage.name
                )));
            }
        }
        contexts.insert(&stage.name, most.max(rows));
    }
    Ok(())
}

/// Checkpoints that stages start from must have a row for each entry of the tokenizer.
fn check_vocabularies(recipe: &Recipe, data: &Data) -> Result<()> {
    let entries = data.tokenizer.info().vocab_size as usize;
    for stage in &recipe.stages {
        if let Some(config) = recipe.checkpoint_architecture(&stage.from)?
            && config.vocab_size < entries
        {
            return Err(EngineError::Refused(format!(
                "stage \"{}\": the checkpoint it starts from has vocab_size = {}, but the tokenizer has {entries} entries; \
                 take the checkpoint's own tokenizer",
                stage.name, config.vocab_size
            )));
        }
    }
    Ok(())
}

/// The architecture with the tokenizer's ids, if the two go together.
fn with_token_ids(mut config: ModelConfig, data: &Data) -> Result<ModelConfig> {
    let info = data.tokenizer.info();
    if info.vocab_size as usize > config.vocab_size {
        return Err(EngineError::Refused(format!(
            "the tokenizer has {} entries, but the model's vocab_size is {}; raise vocab_size",
            info.vocab_size, config.vocab_size
        )));
    }
    // A model of conversations ends with its turn, not with a document.
    let ends = |id: &u32| *id == info.end_of_text || Some(*id) == info.im_end;
    if let Some(eos) = config.eos_token_id.filter(|eos| !ends(eos)) {
        return Err(EngineError::Refused(format!(
            "the model's eos_token_id is {eos}, but the tokenizer ends documents with {}; they must agree",
            info.end_of_text
        )));
    }
    config.eos_token_id = Some(info.end_of_text);
    config.bos_token_id = config.bos_token_id.or(info.begin_of_text);
    Ok(config)
}
