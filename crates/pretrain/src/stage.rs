//! Pretraining and long-context stages: rows of token stores, cross-entropy, held-out loss at the end of each phase.

use std::sync::atomic::AtomicBool;

use smollm3_engine::trainer::train;
use smollm3_engine::{
    CrossEntropy, EngineError, Kept, MicroBatch, Result, Row, Run, TrainState, Watch, Watched, token_bytes,
};
use smollm3_mixer::Mixer;
use smollm3_recipe::{Phase, Stage, Training};
use smollm3_records::{Event, HeldOutRecord, Listener, RowRef, SourceName};
use smollm3_sources::SourceStore;

use crate::held_out::held_out_by_category;
use crate::rows::MixedRows;

/// Rows of held-out text a source that are evaluated at the end of a phase.
const HELD_OUT_ROWS: u64 = 64;

/// Runs a stage on token rows to its end, from its newest checkpoint if it has one.
///
/// # Errors
/// The stage is not one on token rows, or see [`train`].
pub fn pretrain(run: &Run, stage: &Stage, stop: &AtomicBool, listener: &mut dyn Listener) -> Result<()> {
    let training = &stage
        .training()
        .ok_or_else(|| EngineError::Refused(format!("stage \"{}\" is not one on token rows", stage.name)))?;
    run.verify_parents(stage)?;
    let config = run.stage_config(stage)?;
    let rows = MixedRows::new(&run.recipe, training, &run.data)?;
    let fingerprint = |(name, store): (&String, &SourceStore)| (name.clone(), store.fingerprint.clone());
    let kept = Kept {
        run,
        stage,
        training,
        config,
        tokenizer_folder: run.data.tokenizer_folder.clone(),
        data: run.data.stores.iter().map(fingerprint).collect(),
        lora: None,
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
    let shares = |phase: &Phase| phase.mixture.weights().into_iter().collect();
    let settings = kept.settings(sources.collect(), shares, stop)?;
    let reached = kept.resume(listener)?;
    let watch = HeldOutText {
        run,
        training,
        order: rows.order(),
        bytes: token_bytes(&run.data.tokenizer),
    };
    let mut hooks = Watched { kept: &kept, watch };
    let share = run.share(stage, training)?;
    let to_device = |rows: Vec<Row>| -> Result<Vec<MicroBatch>> {
        rows.chunks(share.micro_batch())
            .map(|rows| Ok(MicroBatch::new(rows, &run.device)?))
            .collect()
    };
    let host = |step| rows.rows(step, &share);
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

/// Loss on text that is kept out of training.
struct HeldOutText<'a> {
    run: &'a Run,
    training: &'a Training,
    order: &'a Mixer,
    bytes: Vec<u32>,
}

impl Watch for HeldOutText<'_> {
    fn measures_start(&self) -> bool {
        false
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

    fn measure(
        &self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<Option<f64>> {
        let (run, training) = (self.run, self.training);
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
        Ok(None)
    }
}
