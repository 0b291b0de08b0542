//! Mid-training and supervised fine-tuning as stages of a run.

use std::sync::atomic::AtomicBool;

use smollm3_conversations::{
    ConversationEncoder, ConversationStore, ConversationsError, Document, Earlier, Prepared, Result,
    chat_checkpoints, measured_rows,
};
use smollm3_engine::ranks::on_rank_zero;
use smollm3_engine::{
    CrossEntropy, EpochData, EpochOrder, Evaluate, RankSlice, Row, Run, TrainState, held_out_loss, run_stage,
    spread,
};
use smollm3_recipe::{FineTuning, PreparedData, Recipe, Stage, Training};
use smollm3_records::{Event, Listener, write_ledger};

use crate::packed_rows::PackedRows;

/// All conversations count as one source.
const CONVERSATIONS: &str = "conversations";

/// The packed rows of a stage that an earlier run or preparation left in the folder of `recipe`'s run. No row of the data is
/// read: the stage itself notices a file that has changed since.
///
/// # Errors
/// They are damaged, or as [`PackedRows::new`].
pub fn prepared_data(recipe: &Recipe, stage: &Stage) -> Result<Option<PreparedData>> {
    let (Some(fine_tuning), Some(earlier)) = (stage.fine_tuning(), Earlier::of(recipe, stage)) else {
        return Ok(None);
    };
    let store = ConversationStore::open(&earlier.train)?;
    let packing = fine_tuning.packing(stage.optimisation()?);
    Ok(Some(PreparedData {
        rows: PackedRows::new(store, &packing, recipe.run.seed)?.len(),
        tokens: earlier.total(|report| report.tokens),
    }))
}

/// Runs a stage on conversations to its end, from its newest checkpoint if it has one.
///
/// # Errors
/// The conversations are not available, or as the engine's loop.
pub fn fine_tune(
    run: &Run,
    stage: &Stage,
    fine_tuning: &FineTuning,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<()> {
    run.verify_parents(stage)?;
    let encoder = ConversationEncoder::of(&run.recipe, &run.data.tokenizer, stage, fine_tuning)?;
    let data = &fine_tuning.chat.data;
    let prepared = Prepared::on_ranks(run, stage, data, &encoder, listener)?;
    let seed = run.recipe.run.seed;
    let rows = PackedRows::new(prepared.train, &fine_tuning.packing(stage.optimisation()?), seed)?;
    on_rank_zero(&*run.ranks, || {
        Ok::<_, ConversationsError>(write_ledger(&run.stage_folder(&stage.name), rows.ledger())?)
    })?;
    listener.on(&Event::Note(format!("{}: {}", stage.name, rows.ledger())))?;

    if let Some(note) = stage.few_rows(rows.len()) {
        listener.on(&Event::Note(note))?;
    }
    let training = stage.training_on(PreparedData {
        rows: rows.len(),
        ..PreparedData::default()
    })?;
    let (template, fingerprint) = (&encoder.setup.template, &prepared.fingerprint);
    let checkpoints = chat_checkpoints(run, stage, &training, template, fingerprint)?;
    let slice = RankSlice::new(&*run.ranks, stage, &training)?;
    let data = EpochData {
        order: EpochOrder::new(rows.len(), seed, "rows", training.sequences_per_step()),
        slice,
        steps: training.total_steps(),
        category: CONVERSATIONS,
        sources: vec![(CONVERSATIONS.to_owned(), rows.len())],
        read: |numbers: &[u64]| -> smollm3_engine::Result<_> {
            Ok(slice.micro_batches(rows.rows_of(numbers)?))
        },
    };
    let held_out = HeldOutConversations {
        run,
        training: &training,
        most: measured_rows(stage),
        held_out: prepared.held_out,
    };
    Ok(run_stage(
        &checkpoints,
        &data,
        &CrossEntropy,
        &held_out,
        stop,
        listener,
    )?)
}

/// Loss on conversations that are not trained on.
struct HeldOutConversations<'a> {
    run: &'a Run,
    training: &'a Training,
    held_out: Option<ConversationStore>,
    /// How many of them are evaluated.
    most: u64,
}

impl Evaluate for HeldOutConversations<'_> {
    fn evaluate(
        &self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> smollm3_engine::Result<Option<f64>> {
        let (run, training) = (self.run, self.training);
        let Some(held_out) = &self.held_out else {
            return Ok(None);
        };
        let longest = training.sequence_length.0 as usize;
        let mut rows = Vec::new();
        for index in spread(held_out.len(), self.most) {
            let Document { ids, learned } = held_out.conversation(index)?;
            let mut row = Row::default();
            row.append(ids.get(..longest).unwrap_or(&ids), &learned);
            rows.push(row);
        }
        // Sorted by length, so that little is padded.
        rows.sort_by_key(|row| row.ids.len());
        let loss = held_out_loss(run, &state.model, &rows, training.micro_batch.0 as usize)?;
        if loss.tokens == 0 {
            return Ok(None);
        }
        listener.on(&loss.event(step, phase, CONVERSATIONS))?;
        Ok(Some(loss.nats_per_token()))
    }
}
