//! The checkpoints of a stage of any kind: its initial state, its resume point, what it saves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use smollm3_collective::agree;
use smollm3_model::{FreshAdapters, Init, SmolLm3, hf};
use smollm3_recipe::{Lora, ModelConfig, OptimizerState, PeftConfig, Stage, Start, Training};
use smollm3_records::{Event, GuardState, IncidentKind, Listener, ValidationState, write_validation};

use crate::checkpoint::retention::Retention;
use crate::checkpoint::same_data::check_resumable;
use crate::checkpoint::save_job::SaveJob;
use crate::checkpoint::{self, Progress, Snapshot};
use crate::ranks::{from_rank_zero, on_rank_zero};
use crate::run::{base_name, open_same};
use crate::{AdamW, EngineError, Result, Run, TrainState};

/// The state between two steps from which a stage resumes.
pub struct ResumePoint {
    /// Model and optimizer.
    pub state: TrainState,
    /// Steps done.
    pub step: u64,
    /// The guard's memory.
    pub guard: GuardState,
    /// The best validation loss so far.
    pub validation: ValidationState,
}

/// Saves the states of a loop, and brings them back.
pub trait Checkpointer {
    /// The newest checkpoint whose last step had an update, or the beginning of the stage.
    ///
    /// # Errors
    /// It cannot be read.
    fn last_good(&self, listener: &mut dyn Listener) -> Result<ResumePoint>;

    /// Copies the contents of a checkpoint after `step` from the device, to be written during training.
    ///
    /// # Errors
    /// A file that describes the state cannot be read.
    fn snapshot(
        &self,
        state: &TrainState,
        step: u64,
        guard: &GuardState,
        validation: &ValidationState,
    ) -> Result<SaveJob>;
}

/// The checkpoints of one stage.
pub struct StageCheckpoints<'a> {
    /// The run.
    pub run: &'a Run,
    /// The stage.
    pub stage: &'a Stage,
    /// Its optimisation.
    pub training: &'a Training,
    /// The architecture that it trains.
    pub config: ModelConfig,
    /// Its `generation_config.json`.
    pub generation: Value,
    /// The tokenizer's files, which every checkpoint carries.
    pub tokenizer_folder: PathBuf,
    /// Fingerprints of its data, by name; a stage does not resume on others.
    pub data: BTreeMap<String, String>,
    /// Adapters that are trained instead of the weights.
    pub lora: Option<&'a Lora>,
}

impl StageCheckpoints<'_> {
    /// The stage's folder.
    pub fn folder(&self) -> PathBuf {
        self.run.stage_folder(&self.stage.name)
    }

    /// Where the stage resumes, after removing what a killed process left half-written or half-removed.
    ///
    /// # Errors
    /// A folder cannot be listed or removed, or a checkpoint not be read.
    pub(crate) fn resume(&self, listener: &mut dyn Listener) -> Result<ResumePoint> {
        on_rank_zero(&*self.run.ranks, || checkpoint::sweep(&self.folder()))?;
        self.resume_point(|_| true, listener)
    }

    /// The newest checkpoint that is `wanted`, or the beginning of the stage.
    fn resume_point(
        &self,
        wanted: impl Fn(&Progress) -> bool,
        listener: &mut dyn Listener,
    ) -> Result<ResumePoint> {
        let run = self.run;
        let ranks = &*run.ranks;
        let items = self
            .data
            .iter()
            .map(|(name, fingerprint)| (name.as_str(), fingerprint.clone()));
        agree(ranks, &items.collect::<Vec<_>>())?;
        // Rank 0 alone compares files with their manifests.
        let newest = from_rank_zero(ranks, || {
            let (newest, damaged) = checkpoint::newest(&self.folder(), &run.hashes, wanted)?;
            if let Some((progress, _)) = &newest {
                check_resumable(&self.folder(), progress, &self.data, self.training.total_steps())?;
            }
            let step = newest.as_ref().map_or(0, |(progress, _)| progress.step);
            for fault in damaged {
                let kind = IncidentKind::Damaged { fault };
                listener.on(&Event::Incident { step, kind })?;
            }
            let deterministic = run.recipe.run.deterministic;
            let before = newest.as_ref().and_then(|(progress, _)| progress.deterministic);
            if before.is_some_and(|before| before != deterministic) {
                let kind = IncidentKind::Determinism { deterministic };
                listener.on(&Event::Incident { step, kind })?;
            }
            Ok::<_, EngineError>(newest)
        })?;
        let state = match &newest {
            Some((progress, folder)) => self.load(folder, progress)?,
            None => self.start()?,
        };
        let progress = newest.map(|(progress, _)| progress);
        Ok(ResumePoint {
            state: TrainState {
                model: state.model.with_precision(run.precision()),
                ..state
            },
            step: progress.as_ref().map_or(0, |progress| progress.step),
            validation: (progress.as_ref())
                .and_then(|progress| progress.validation.clone())
                .unwrap_or_default(),
            guard: progress.map(|progress| progress.guard).unwrap_or_default(),
        })
    }

    /// The state of a checkpoint of this stage.
    fn load(&self, folder: &Path, progress: &Progress) -> Result<TrainState> {
        let (run, device) = (self.run, self.run.device.clone().autodiff());
        let (model, shapes) = match self.lora {
            None => {
                let checkpoint = hf::Checkpoint::open(folder)?;
                if checkpoint.config != self.config {
                    return Err(EngineError::Refused(format!(
                        "{}: its config.json is not the architecture of the recipe; remove the checkpoint or mend the recipe",
                        folder.display()
                    )));
                }
                (checkpoint.model(&device)?, self.config.parameter_shapes())
            }
            Some(lora) => {
                // The checkpoint's weights have the adapters merged in: the frozen ones are those that the stage began with.
                let (base, _) = self.frozen(lora)?;
                let adapters = checkpoint::adapter_files(folder)?;
                let model = base.with_adapters(lora, &adapters, &device)?;
                let adapters = model.adapters().into_iter();
                let shapes = adapters.map(|(_, name, value)| (name, value.dims().to_vec()));
                let shapes = shapes.collect();
                (model, shapes)
            }
        };
        let (settings, ranks) = (&self.training.optimizer, &*run.ranks);
        let optimizer = AdamW::restore(settings, progress.updates, &shapes, folder, &run.device, ranks)?;
        Ok(TrainState { model, optimizer })
    }

    /// The weights that stay frozen, and the folder of the adapter to train on, if the stage begins with one.
    fn frozen(&self, lora: &Lora) -> Result<(SmolLm3, Option<PathBuf>)> {
        let run = self.run;
        let (frozen, adapter) = run.frozen(self.stage, lora)?;
        on_rank_zero(&*run.ranks, || run.check_whole(self.stage, &frozen))?;
        Ok((self.weights(&frozen)?, adapter))
    }

    /// The state that the stage begins with.
    fn start(&self) -> Result<TrainState> {
        let (run, training, config) = (self.run, self.training, &self.config);
        let device = run.device.clone().autodiff();
        let seed = run.recipe.run.seed;
        let fresh = |model: SmolLm3| TrainState {
            model,
            optimizer: AdamW::new(training.optimizer.clone()),
        };
        if self.stage.from == Start::Random {
            return Ok(fresh(SmolLm3::new(config, &Init::new(config, seed), &device)?));
        }
        if let Some(lora) = self.lora {
            return Ok(fresh(match self.frozen(lora)? {
                (model, None) => model.with_adapters(lora, &FreshAdapters { seed }, &device)?,
                (model, Some(folder)) => {
                    let adapter = open_same(&folder, lora, config, &self.stage.name)?;
                    model.with_adapters(lora, &adapter, &device)?
                }
            }));
        }
        let folder = run.whole_checkpoint(self.stage, &self.stage.from)?;
        let state = fresh(self.weights(&folder)?);
        if training.optimizer_state == OptimizerState::Fresh {
            return Ok(state);
        }
        let (optimizer, ranks) = (&training.optimizer, &*run.ranks);
        let optimizer = checkpoint::load_optimizer(&folder, config, optimizer, &run.device, ranks)?;
        Ok(TrainState { optimizer, ..state })
    }

    /// A checkpoint's weights under this stage's theta and length.
    fn weights(&self, folder: &Path) -> Result<SmolLm3> {
        let weights = hf::Checkpoint::open(folder)?.tensors;
        let device = self.run.device.clone().autodiff();
        Ok(SmolLm3::new(&self.config, &weights, &device)?)
    }

    /// `adapter_config.json` of its checkpoints.
    fn peft_config(&self, lora: &Lora) -> Result<Value> {
        let (frozen, _) = self.run.frozen(self.stage, lora)?;
        let (base, revision) = base_name(&frozen, &self.folder());
        Ok(PeftConfig::json(lora, &base, revision.as_deref()))
    }
}

impl Checkpointer for StageCheckpoints<'_> {
    fn last_good(&self, listener: &mut dyn Listener) -> Result<ResumePoint> {
        self.resume_point(|progress| progress.guard.bad == 0, listener)
    }

    fn snapshot(
        &self,
        state: &TrainState,
        step: u64,
        guard: &GuardState,
        validation: &ValidationState,
    ) -> Result<SaveJob> {
        let progress = Progress {
            stage: self.stage.name.clone(),
            step,
            steps: match validation.ended {
                true => step,
                false => self.training.total_steps(),
            },
            tokens: step * self.training.tokens_per_step(),
            updates: state.optimizer.updates(),
            recipe: self.run.recipe.fingerprint(),
            data: self.data.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            deterministic: Some(self.run.recipe.run.deterministic),
            guard: guard.clone(),
            validation: self.stage.validation().map(|_| validation.clone()),
        };
        let peft = self.lora.map(|lora| self.peft_config(lora)).transpose()?;
        let snapshot = Snapshot::take(
            state,
            (self.config.clone(), self.generation.clone()),
            progress,
            self.tokenizer_folder.clone(),
            peft,
            &*self.run.ranks,
        );
        let is_first = self.run.ranks.rank() == 0;
        let retention = Retention::of(self.stage);
        let folder = self.folder();
        Ok(Box::new(move || {
            let saved = checkpoint::save(&folder, &snapshot)?;
            if let Some(retention) = retention.as_ref().filter(|_| is_first) {
                retention.prune(&folder)?;
            }
            if let Some(state) = snapshot.progress.validation.as_ref().filter(|_| is_first) {
                write_validation(&folder, state)?;
            }
            Ok(saved)
        }))
    }
}
