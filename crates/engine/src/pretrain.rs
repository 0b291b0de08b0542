//! The pretraining stage: rows of token stores, cross-entropy, held-out loss at the end of each phase.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use smollm3_model::{Init, SmolLm3, hf};
use smollm3_recipe::{Stage, Start, Training};

use crate::checkpoint::{self, Progress};
use crate::held_out::{HeldOut, held_out_loss, token_bytes};
use crate::rows::MixedRows;
use crate::trainer::{Hooks, LoopSettings, train};
use crate::{
    AdamW, CrossEntropy, EngineError, Event, HeldOutRecord, Listener, MicroBatch, Result, Row, Run,
    SourceStore, TrainState,
};

/// Rows of held-out text a source that are evaluated at the end of a phase.
const HELD_OUT_ROWS: u64 = 64;

/// Runs a pretraining stage to its end, from its newest checkpoint if it has one.
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
    let folder = run.stage_folder(&stage.name);
    let (found, damaged) = checkpoint::newest(&folder)?;
    for fault in damaged {
        listener.on(&Event::Note(format!("passed over a damaged checkpoint: {fault}")))?;
    }
    let (state, done) = match found {
        Some((progress, path)) => {
            let optimizer = &training.optimizer;
            (
                checkpoint::load(&path, &run.config, &progress, optimizer, &run.device)?,
                progress.step,
            )
        }
        None => (start(run, stage, training)?, 0),
    };
    let state = TrainState {
        model: state.model.with_precision(run.precision()),
        ..state
    };
    let rows = MixedRows::new(&run.recipe, training, &run.data)?;
    let settings = LoopSettings {
        stage: &stage.name,
        folder: folder.clone(),
        training,
        schedule: training.schedule()?,
        stop,
    };
    let mut hooks = PretrainHooks {
        run,
        stage: &stage.name,
        training,
        folder,
        bytes: token_bytes(&run.data.tokenizer),
    };
    let rows_at_once = training.micro_batch.0 as usize;
    let to_device = |rows: Vec<Row>| -> Result<Vec<MicroBatch>> {
        rows.chunks(rows_at_once.max(1))
            .map(|rows| Ok(MicroBatch::new(rows, &run.device)?))
            .collect()
    };
    let host = |step| rows.rows(step);
    train(
        &settings,
        state,
        done,
        &CrossEntropy,
        host,
        to_device,
        &mut hooks,
        listener,
    )?;
    Ok(())
}

/// The state that a stage begins with.
fn start(run: &Run, stage: &Stage, training: &Training) -> Result<TrainState> {
    let device = run.device.clone().autodiff();
    let model = match &stage.from {
        Start::Random => SmolLm3::new(&run.config, &Init::new(&run.config, run.recipe.run.seed), &device)?,
        Start::Stage(earlier) => {
            let folder = run.stage_folder(earlier);
            let (found, _) = checkpoint::newest(&folder)?;
            let (_, path) = found.ok_or_else(|| {
                EngineError::Refused(format!(
                    "stage \"{}\" starts from \"{earlier}\", which has no checkpoint in {}; run it first",
                    stage.name,
                    folder.display()
                ))
            })?;
            hf::Checkpoint::open(&path)?.model(&device)?
        }
        Start::Folder(path) => hf::Checkpoint::open(&run.recipe.resolve(path))?.model(&device)?,
        Start::Hub(repository) => {
            return Err(EngineError::Refused(format!(
                "stage \"{}\": download {repository} and write its folder in `from`",
                stage.name
            )));
        }
    };
    Ok(TrainState {
        model,
        optimizer: AdamW::new(training.optimizer.clone()),
    })
}

struct PretrainHooks<'a> {
    run: &'a Run,
    stage: &'a str,
    training: &'a Training,
    folder: PathBuf,
    bytes: Vec<u32>,
}

impl Hooks for PretrainHooks<'_> {
    fn save(&mut self, state: &TrainState, step: u64) -> Result<PathBuf> {
        let fingerprint = |(name, store): (&String, &SourceStore)| (name.clone(), store.fingerprint.clone());
        let progress = Progress {
            stage: self.stage.to_owned(),
            step,
            tokens: step * self.training.tokens_per_step(),
            updates: state.optimizer.updates(),
            recipe: self.run.recipe.fingerprint(),
            data: self.run.data.stores.iter().map(fingerprint).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let tokenizer = &self.run.data.tokenizer_folder;
        let saved = checkpoint::save(&self.folder, state, &self.run.config, &progress, tokenizer)?;
        let ends: Vec<u64> = self
            .training
            .phases
            .iter()
            .map(|phase| self.training.end_step(phase))
            .collect();
        let permanent = self.training.checkpoint.permanent;
        let kept = |step| ends.contains(&step) || permanent.is_some_and(|every| step % every.0 == 0);
        checkpoint::prune(&self.folder, self.training.checkpoint.keep as usize, kept)?;
        Ok(saved)
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
