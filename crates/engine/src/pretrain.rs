//! Pretraining and long-context stages: rows of token stores, cross-entropy, held-out loss at the end of each phase.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use smollm3_mixer::Mixer;
use smollm3_model::{Init, SmolLm3, hf};
use smollm3_recipe::{ModelConfig, OptimizerState, Stage, Start, Training, cost::training_flops_per_token};

use crate::checkpoint::{self, Progress, Snapshot};
use crate::events::{PhaseInfo, RowRef, SourceName, StageInfo};
use crate::guard::GuardState;
use crate::held_out::{HeldOut, held_out_loss, token_bytes};
use crate::rows::MixedRows;
use crate::saver::Writing;
use crate::trainer::{Hooks, LoopSettings, Reached, train};
use crate::{
    AdamW, CrossEntropy, EngineError, Event, HeldOutRecord, IncidentKind, Listener, MicroBatch, Result, Row,
    Run, SourceStore, TrainState,
};

/// Rows of held-out text a source that are evaluated at the end of a phase.
const HELD_OUT_ROWS: u64 = 64;

/// Runs a stage on token rows to its end, from its newest checkpoint if it has one.
///
/// # Errors
/// See [`train`].
pub(crate) fn pretrain(
    run: &Run,
    stage: &Stage,
    training: &Training,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<()> {
    let config = run.stage_config(stage)?;
    let rows = MixedRows::new(&run.recipe, training, &run.data)?;
    let settings = LoopSettings {
        stage: stage_info(run, stage, training, &config, rows.order()),
        training,
        schedule: training.schedule()?,
        stop,
    };
    let mut hooks = PretrainHooks {
        run,
        stage,
        training,
        config,
        folder: run.stage_folder(&stage.name),
        order: rows.order(),
        bytes: token_bytes(&run.data.tokenizer),
    };
    checkpoint::sweep(&hooks.folder)?;
    let reached = hooks.reached(|_| true, listener)?;
    let rows_at_once = training.micro_batch.0 as usize;
    let to_device = |rows: Vec<Row>| -> Result<Vec<MicroBatch>> {
        rows.chunks(rows_at_once.max(1))
            .map(|rows| Ok(MicroBatch::new(rows, &run.device)?))
            .collect()
    };
    let host = |step| rows.rows(step);
    train(
        &settings,
        reached,
        &CrossEntropy,
        host,
        to_device,
        &mut hooks,
        listener,
    )?;
    Ok(())
}

fn stage_info(
    run: &Run,
    stage: &Stage,
    training: &Training,
    config: &ModelConfig,
    order: &Mixer,
) -> StageInfo {
    let category = |name: &str| {
        let source = run.recipe.sources.get(name);
        source.map_or(String::new(), |source| source.category.clone())
    };
    let plan = &run.recipe.plan;
    StageInfo {
        name: stage.name.clone(),
        folder: run.stage_folder(&stage.name),
        steps: training.total_steps(),
        tokens_per_step: training.tokens_per_step(),
        sequence_length: training.sequence_length.0,
        rope_theta: config.rope_theta,
        flops_per_token: training_flops_per_token(config, training.sequence_length.0),
        peak_flops: plan.peak_tflops.map(|peak| peak * 1e12),
        sources: order
            .config()
            .sources
            .iter()
            .map(|source| SourceName {
                name: source.name.clone(),
                category: category(&source.name),
            })
            .collect(),
        phases: training
            .phases
            .iter()
            .zip(training.phase_steps())
            .map(|(phase, steps)| PhaseInfo {
                name: phase.name.clone(),
                first: *steps.start(),
                last: *steps.end(),
                shares: phase.mixture.weights().into_iter().collect(),
            })
            .collect(),
    }
}

/// The state that a stage begins with.
fn start(run: &Run, stage: &Stage, training: &Training, config: &ModelConfig) -> Result<TrainState> {
    let device = run.device.clone().autodiff();
    let folder = match &stage.from {
        Start::Random => {
            return Ok(TrainState {
                model: SmolLm3::new(config, &Init::new(config, run.recipe.run.seed), &device)?,
                optimizer: AdamW::new(training.optimizer.clone()),
            });
        }
        Start::Stage(earlier) => run.last_checkpoint(stage, earlier)?,
        Start::Folder(path) => run.recipe.resolve(path),
        Start::Hub(repository) => {
            return Err(EngineError::Refused(format!(
                "stage \"{}\": download {repository} and write its folder in `from`",
                stage.name
            )));
        }
    };
    // Its weights under this stage's theta and length.
    let weights = hf::Checkpoint::open(&folder)?.tensors;
    Ok(TrainState {
        model: SmolLm3::new(config, &weights, &device)?,
        optimizer: match training.optimizer_state {
            OptimizerState::Fresh => AdamW::new(training.optimizer.clone()),
            OptimizerState::Keep => {
                checkpoint::load_optimizer(&folder, config, &training.optimizer, &run.device)?
            }
        },
    })
}

struct PretrainHooks<'a> {
    run: &'a Run,
    stage: &'a Stage,
    training: &'a Training,
    config: ModelConfig,
    folder: PathBuf,
    order: &'a Mixer,
    bytes: Vec<u32>,
}

impl PretrainHooks<'_> {
    /// The newest checkpoint that is `wanted`, or the beginning of the stage.
    fn reached(&self, wanted: impl Fn(&Progress) -> bool, listener: &mut dyn Listener) -> Result<Reached> {
        let run = self.run;
        let (found, damaged) = checkpoint::newest_of(&self.folder, wanted)?;
        let step = found.as_ref().map_or(0, |(progress, _)| progress.step);
        for fault in damaged {
            let kind = IncidentKind::Damaged { fault };
            listener.on(&Event::Incident { step, kind })?;
        }
        let (state, guard) = match found {
            Some((progress, path)) => {
                let optimizer = &self.training.optimizer;
                let state = checkpoint::load(&path, &self.config, &progress, optimizer, &run.device)?;
                (state, progress.guard)
            }
            None => (
                start(run, self.stage, self.training, &self.config)?,
                GuardState::default(),
            ),
        };
        let state = TrainState {
            model: state.model.with_precision(run.precision()),
            ..state
        };
        Ok(Reached { state, step, guard })
    }
}

impl Hooks for PretrainHooks<'_> {
    fn snapshot(&mut self, state: &TrainState, step: u64, guard: &GuardState) -> Result<Writing> {
        let fingerprint = |(name, store): (&String, &SourceStore)| (name.clone(), store.fingerprint.clone());
        let progress = Progress {
            stage: self.stage.name.clone(),
            step,
            tokens: step * self.training.tokens_per_step(),
            updates: state.optimizer.updates(),
            recipe: self.run.recipe.fingerprint(),
            data: self.run.data.stores.iter().map(fingerprint).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            guard: guard.clone(),
        };
        let tokenizer = self.run.data.tokenizer_folder.clone();
        let snapshot = Snapshot::take(state, self.config.clone(), progress, tokenizer);
        let ends: Vec<u64> = self
            .training
            .phases
            .iter()
            .map(|phase| self.training.end_step(phase))
            .collect();
        let settings = self.training.checkpoint.clone();
        let folder = self.folder.clone();
        Ok(Box::new(move || {
            let saved = checkpoint::save(&folder, &snapshot)?;
            let permanent = settings.permanent;
            let kept = |step| ends.contains(&step) || permanent.is_some_and(|every| step % every.0 == 0);
            checkpoint::prune(&folder, settings.keep as usize, kept)?;
            Ok(saved)
        }))
    }

    fn last_good(&mut self, listener: &mut dyn Listener) -> Result<Reached> {
        self.reached(|progress| progress.guard.bad == 0, listener)
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        let picks = self.order.batch(step).unwrap_or_default();
        let name = |source: usize| {
            self.order
                .config()
                .sources
                .get(source)
                .map(|source| source.name.clone())
        };
        picks
            .into_iter()
            .filter_map(|pick| {
                Some(RowRef {
                    source: name(pick.source)?,
                    window: pick.place?.window,
                })
            })
            .collect()
    }

    fn phase_ended(
        &mut self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let mut by_category: BTreeMap<&str, HeldOut> = BTreeMap::new();
        for (name, store) in &self.run.data.stores {
            let (Some(held_out), Some(source)) = (&store.held_out, self.run.recipe.sources.get(name)) else {
                continue;
            };
            let reader = self
                .run
                .data
                .local_reader(held_out, self.training.sequence_length.0)?;
            *by_category.entry(&source.category).or_default() += held_out_loss(
                &state.model,
                &reader,
                &self.bytes,
                HELD_OUT_ROWS,
                self.training.micro_batch.0 as usize,
                &self.run.device,
            )?;
        }
        for (category, loss) in by_category.into_iter().filter(|(_, loss)| loss.tokens > 0) {
            listener.on(&Event::HeldOut(HeldOutRecord {
                step,
                phase: phase.to_owned(),
                category: category.to_owned(),
                nats_per_token: loss.nats_per_token(),
                bits_per_byte: loss.bits_per_byte(),
                tokens: loss.tokens,
            }))?;
        }
        Ok(())
    }
}
