//! Pretraining and long-context stages: rows of token stores, cross-entropy, held-out loss at the end of each phase.

use std::sync::atomic::AtomicBool;

use smollm3_mixer::Mixer;
use smollm3_recipe::{Stage, Training};

use crate::checkpoint;
use crate::events::{RowRef, SourceName};
use crate::guard::GuardState;
use crate::held_out::{held_out_by_category, token_bytes};
use crate::kept::Kept;
use crate::rows::MixedRows;
use crate::saver::Writing;
use crate::trainer::{Hooks, LoopSettings, Reached, train};
use crate::{
    CrossEntropy, Event, HeldOutRecord, Listener, MicroBatch, Result, Row, Run, SourceStore, TrainState,
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
    let fingerprint = |(name, store): (&String, &SourceStore)| (name.clone(), store.fingerprint.clone());
    let mut hooks = PretrainHooks {
        kept: Kept {
            run,
            stage,
            training,
            config,
            tokenizer_folder: run.data.tokenizer_folder.clone(),
            data: run.data.stores.iter().map(fingerprint).collect(),
            lora: None,
        },
        order: rows.order(),
        bytes: token_bytes(&run.data.tokenizer),
    };
    let sources = &rows.order().config().sources;
    let category = |name: &str| {
        let source = run.recipe.sources.get(name);
        source.map_or(String::new(), |source| source.category.clone())
    };
    let sources = sources.iter().map(|source| SourceName {
        name: source.name.clone(),
        category: category(&source.name),
    });
    let settings = LoopSettings {
        stage: hooks.kept.stage_info(sources.collect(), |phase| {
            phase.mixture.weights().into_iter().collect()
        }),
        training,
        schedule: training.schedule()?,
        stop,
    };
    checkpoint::sweep(&hooks.kept.folder())?;
    let reached = hooks.kept.reached(|_| true, listener)?;
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

struct PretrainHooks<'a> {
    kept: Kept<'a>,
    order: &'a Mixer,
    bytes: Vec<u32>,
}

impl Hooks for PretrainHooks<'_> {
    fn snapshot(&mut self, state: &TrainState, step: u64, guard: &GuardState) -> Result<Writing> {
        self.kept.snapshot(state, step, guard)
    }

    fn last_good(&mut self, listener: &mut dyn Listener) -> Result<Reached> {
        self.kept.reached(|progress| progress.guard.bad == 0, listener)
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
        let Kept { run, training, .. } = &self.kept;
        let (length, micro_batch) = (training.sequence_length.0, training.micro_batch.0 as usize);
        let found = held_out_by_category(run, &state.model, length, HELD_OUT_ROWS, micro_batch, &self.bytes)?;
        for (category, loss) in found {
            listener.on(&Event::HeldOut(HeldOutRecord {
                step,
                phase: phase.to_owned(),
                category,
                nats_per_token: loss.nats_per_token(),
                bits_per_byte: loss.bits_per_byte(),
                tokens: loss.tokens,
            }))?;
        }
        Ok(())
    }
}
