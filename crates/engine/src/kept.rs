//! What a stage of any kind keeps: where it begins, what it has reached, what a checkpoint of it holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use smollm3_collective::agree;
use smollm3_model::{FreshAdapters, Init, SmolLm3, hf};
use smollm3_recipe::{
    Lora, ModelConfig, OptimizerState, PeftConfig, Phase, Stage, Start, Training, training_flops_per_token,
};
use smollm3_records::{
    Event, GuardState, IncidentKind, Listener, NATS_PER_TOKEN, PhaseInfo, SourceName, StageInfo,
    ValidationState, write_validation,
};

use crate::checkpoint::{self, Progress, Snapshot};
use crate::frozen::{base_name, open_same};
use crate::ranks::{from_first, only_first};
use crate::retention::Retention;
use crate::saver::Writing;
use crate::trainer::{LoopSettings, Reached};
use crate::{AdamW, EngineError, Result, Run, TrainState};

/// The checkpoints of one stage.
pub struct Kept<'a> {
    /// The run.
    pub run: &'a Run,
    /// The stage.
    pub stage: &'a Stage,
    /// Its optimisation.
    pub training: &'a Training,
    /// The architecture that it trains.
    pub config: ModelConfig,
    /// The tokenizer's files, which every checkpoint carries.
    pub tokenizer_folder: PathBuf,
    /// What stands for each of its data.
    pub data: BTreeMap<String, String>,
    /// Adapters that are trained in the place of the weights.
    pub lora: Option<&'a Lora>,
}

impl Kept<'_> {
    /// The stage's folder.
    pub fn folder(&self) -> PathBuf {
        self.run.stage_folder(&self.stage.name)
    }

    /// Where the stage goes on, after removing what a process that was killed left half-written or half-removed.
    ///
    /// # Errors
    /// A folder cannot be listed or removed, or a checkpoint not be read.
    pub fn resume(&self, listener: &mut dyn Listener) -> Result<Reached> {
        only_first(&*self.run.ranks, || checkpoint::sweep(&self.folder()))?;
        self.reached(|_| true, listener)
    }

    /// What the loop is told; `shares` are what each phase is to be made of.
    ///
    /// # Errors
    /// The schedule has no step for a part of it.
    pub fn settings<'a>(
        &'a self,
        sources: Vec<SourceName>,
        shares: impl Fn(&Phase) -> BTreeMap<String, f64>,
        stop: &'a AtomicBool,
    ) -> Result<LoopSettings<'a>> {
        Ok(LoopSettings {
            stage: self.stage_info(sources, shares),
            training: self.training,
            schedule: self.training.schedule()?,
            stop,
            ranks: &*self.run.ranks,
            sharding: self.run.recipe.run.shard,
            validation: self.stage.validation(),
        })
    }

    /// What listeners are told of the stage.
    fn stage_info(
        &self,
        sources: Vec<SourceName>,
        shares: impl Fn(&Phase) -> BTreeMap<String, f64>,
    ) -> StageInfo {
        let (training, config) = (self.training, &self.config);
        let length = training.sequence_length.0;
        StageInfo {
            name: self.stage.name.clone(),
            folder: self.folder(),
            steps: training.total_steps(),
            tokens_per_step: training.tokens_per_step(),
            sequence_length: length,
            rope_theta: config.rope_theta,
            flops_per_token: training_flops_per_token(config, length),
            peak_flops: self.run.recipe.plan.peak_tflops.map(|peak| peak * 1e12),
            loss_unit: NATS_PER_TOKEN.to_owned(),
            sources,
            phases: training
                .phases
                .iter()
                .zip(training.phase_steps())
                .map(|(phase, steps)| PhaseInfo {
                    name: phase.name.clone(),
                    first: *steps.start(),
                    last: *steps.end(),
                    shares: shares(phase),
                })
                .collect(),
        }
    }

    /// The newest checkpoint that is `wanted`, or the beginning of the stage.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn reached(
        &self,
        wanted: impl Fn(&Progress) -> bool,
        listener: &mut dyn Listener,
    ) -> Result<Reached> {
        let run = self.run;
        let ranks = &*run.ranks;
        let items: Vec<(&str, String)> = self
            .data
            .iter()
            .map(|(name, fingerprint)| (name.as_str(), fingerprint.clone()))
            .collect();
        agree(ranks, &items)?;
        // Files are compared with their manifests once, not by every rank.
        let found = from_first(ranks, || {
            let (found, damaged) = checkpoint::newest(&self.folder(), run.hashes(), wanted)?;
            let step = found.as_ref().map_or(0, |(progress, _)| progress.step);
            for fault in damaged {
                let kind = IncidentKind::Damaged { fault };
                listener.on(&Event::Incident { step, kind })?;
            }
            let deterministic = run.recipe.run.deterministic;
            let before = found.as_ref().and_then(|(progress, _)| progress.deterministic);
            if before.is_some_and(|before| before != deterministic) {
                let kind = IncidentKind::Determinism { deterministic };
                listener.on(&Event::Incident { step, kind })?;
            }
            Ok::<_, EngineError>(found)
        })?;
        let step = found.as_ref().map_or(0, |(progress, _)| progress.step);
        let validation = found
            .as_ref()
            .and_then(|(progress, _)| progress.validation.clone());
        let (state, guard) = match found {
            Some((progress, path)) if let Some(lora) = self.lora => {
                // The checkpoint's weights have the adapters in them: what is frozen is what the stage began with.
                let optimizer = &self.training.optimizer;
                let (frozen, _) = run.frozen(self.stage, lora)?;
                only_first(ranks, || run.check_whole(self.stage, &frozen))?;
                let base = self.weights(&frozen)?;
                let state =
                    checkpoint::load_adapters(base, lora, &path, &progress, optimizer, &run.device, ranks)?;
                (state, progress.guard)
            }
            Some((progress, path)) => {
                let optimizer = &self.training.optimizer;
                let state = checkpoint::load(&path, &self.config, &progress, optimizer, &run.device, ranks)?;
                (state, progress.guard)
            }
            None => (self.start()?, GuardState::default()),
        };
        let state = TrainState {
            model: state.model.with_precision(run.precision()),
            ..state
        };
        Ok(Reached {
            state,
            step,
            guard,
            validation: validation.unwrap_or_default(),
        })
    }

    /// The state that the stage begins with.
    fn start(&self) -> Result<TrainState> {
        let (run, training, config) = (self.run, self.training, &self.config);
        let device = run.device.clone().autodiff();
        let seed = run.recipe.run.seed;
        if self.stage.from == Start::Random {
            return Ok(TrainState {
                model: SmolLm3::new(config, &Init::new(config, seed), &device)?,
                optimizer: AdamW::new(training.optimizer.clone()),
            });
        }
        if let Some(lora) = self.lora {
            let (frozen, adapter) = run.frozen(self.stage, lora)?;
            only_first(&*run.ranks, || run.check_whole(self.stage, &frozen))?;
            let model = self.weights(&frozen)?;
            return Ok(TrainState {
                model: match adapter {
                    None => model.with_adapters(lora, &FreshAdapters { seed }, &device)?,
                    Some(folder) => {
                        let adapter = open_same(&folder, lora, config, &self.stage.name)?;
                        model.with_adapters(lora, &adapter, &device)?
                    }
                },
                optimizer: AdamW::new(training.optimizer.clone()),
            });
        }
        let folder = run.whole_checkpoint(self.stage, &self.stage.from)?;
        let model = self.weights(&folder)?;
        Ok(TrainState {
            model,
            optimizer: match training.optimizer_state {
                OptimizerState::Fresh => AdamW::new(training.optimizer.clone()),
                OptimizerState::Keep => {
                    let (optimizer, ranks) = (&training.optimizer, &*run.ranks);
                    checkpoint::load_optimizer(&folder, config, optimizer, &run.device, ranks)?
                }
            },
        })
    }

    /// A checkpoint's weights under this stage's theta and length.
    ///
    /// # Errors
    /// It cannot be read, or is of another architecture.
    pub fn weights(&self, folder: &Path) -> Result<SmolLm3> {
        let weights = hf::Checkpoint::open(folder)?.tensors;
        Ok(SmolLm3::new(
            &self.config,
            &weights,
            &self.run.device.clone().autodiff(),
        )?)
    }

    /// `adapter_config.json` of its checkpoints.
    fn peft_config(&self, lora: &Lora) -> Result<serde_json::Value> {
        let (frozen, _) = self.run.frozen(self.stage, lora)?;
        let (base, revision) = base_name(&frozen, &self.folder());
        Ok(PeftConfig::json(lora, &base, revision.as_deref()))
    }

    /// Copies what a checkpoint after `step` holds out of the device, to be written while training goes on.
    ///
    /// # Errors
    /// What a stage with adapters starts from is gone.
    pub(crate) fn snapshot(
        &self,
        state: &TrainState,
        step: u64,
        guard: &GuardState,
        validation: &ValidationState,
    ) -> Result<Writing> {
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
            self.config.clone(),
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
