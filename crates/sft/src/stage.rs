//! Mid-training and supervised fine-tuning as stages of a run.

use std::sync::atomic::AtomicBool;

use smollm3_conversations::{
    ConversationEncoder, ConversationStore, ConversationsError, Prepared, Result, measured_rows,
    stage_tokenizer,
};
use smollm3_engine::trainer::train;
use smollm3_engine::{
    CrossEntropy, EngineError, HeldOut, Kept, MicroBatch, Row, Run, TrainState, Watch, Watched,
    held_out_rows, token_bytes,
};
use smollm3_recipe::{FineTuning, ModelConfig, Phase, PreparedData, Stage, Training};
use smollm3_records::{Event, HeldOutRecord, Listener, RowRef, SourceName, write_ledger};

use crate::packed::{PackedRows, padded};

/// All of them count as one source.
const CONVERSATIONS: &str = "conversations";

/// Runs a stage on conversations to its end, from its newest checkpoint if it has one.
///
/// # Errors
/// The conversations cannot be had, or as the engine's loop.
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
    let prepared = run.first(|| Prepared::of(&run.recipe, &run.data, stage, data, &encoder, listener))?;
    let (tokenizer_folder, tokens) = stage_tokenizer(run, stage, &encoder.setup.template)?;
    let optimisation = stage.optimisation()?;
    let (packing, sequences_per_step) = (
        fine_tuning.packing(optimisation),
        optimisation.sequences_per_step(),
    );
    let rows = PackedRows::new(prepared.train, &packing, run.recipe.run.seed, sequences_per_step)?;
    run.only_first(|| {
        Ok::<_, ConversationsError>(write_ledger(&run.stage_folder(&stage.name), rows.ledger())?)
    })?;
    listener.on(&Event::Note(format!("{}: {}", stage.name, rows.ledger())))?;

    let training = stage.training_on(PreparedData {
        rows: rows.len(),
        ..PreparedData::default()
    })?;
    // A turn's end is where generation stops.
    let config = ModelConfig {
        eos_token_id: Some(tokens.im_end),
        ..run.stage_config(stage)?
    };
    let kept = Kept {
        run,
        stage,
        training: &training,
        config,
        tokenizer_folder,
        data: [(stage.name.clone(), prepared.fingerprint)].into(),
        lora: stage.lora(),
    };
    let source = SourceName {
        name: CONVERSATIONS.to_owned(),
        category: CONVERSATIONS.to_owned(),
    };
    let shares = |_: &Phase| [(CONVERSATIONS.to_owned(), 1.0)].into();
    let settings = kept.settings(vec![source], shares, stop)?;
    let reached = kept.resume(listener)?;
    let watch = HeldOutConversations {
        run,
        training: &training,
        rows: &rows,
        most: measured_rows(stage),
        held_out: prepared.held_out,
        bytes: token_bytes(&run.data.tokenizer),
    };
    let mut hooks = Watched { kept: &kept, watch };
    let share = run.share(stage, &training)?;
    let to_device = |mut rows: Vec<Row>| -> smollm3_engine::Result<Vec<MicroBatch>> {
        let mut batches = Vec::new();
        while !rows.is_empty() {
            let rest = rows.split_off(share.micro_batch().min(rows.len()));
            batches.push(MicroBatch::new(&padded(rows), &run.device)?);
            rows = rest;
        }
        Ok(batches)
    };
    let host = |step| {
        let numbers = share.of(rows.numbers(step))?;
        Ok(rows.rows_of(&numbers)?)
    };
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

/// Loss on conversations that are not trained on.
struct HeldOutConversations<'a> {
    run: &'a Run,
    training: &'a Training,
    rows: &'a PackedRows,
    held_out: Option<ConversationStore>,
    /// How many of them are evaluated.
    most: u64,
    bytes: Vec<u32>,
}

impl Watch for HeldOutConversations<'_> {
    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        let row = |number| RowRef {
            source: CONVERSATIONS.to_owned(),
            window: number,
        };
        self.rows.numbers(step).into_iter().map(row).collect()
    }

    fn measure(
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
        let take = held_out.len().min(self.most);
        let longest = training.sequence_length.0 as usize;
        let mut rows = Vec::new();
        for i in 0..take {
            let (mut ids, learned) = held_out
                .conversation(i * held_out.len() / take)
                .map_err(EngineError::from)?;
            ids.truncate(longest);
            let next = ids.iter().zip(learned).skip(1);
            let mut targets: Vec<Option<u32>> =
                next.map(|(id, learned)| (*learned != 0).then_some(*id)).collect();
            targets.push(None);
            targets.truncate(ids.len());
            rows.push(Row {
                starts: vec![0],
                targets,
                ids,
                source: 0,
            });
        }
        // Those of one length beside each other, so that little is padded.
        rows.sort_by_key(|row| row.ids.len());
        let mut loss = HeldOut::default();
        for rows in rows.chunks(training.micro_batch.0.max(1) as usize) {
            loss += held_out_rows(&state.model, &padded(rows.to_vec()), &self.bytes, &run.device)?;
        }
        if loss.tokens == 0 {
            return Ok(None);
        }
        listener.on(&Event::HeldOut(HeldOutRecord {
            step,
            phase: phase.to_owned(),
            category: CONVERSATIONS.to_owned(),
            nats_per_token: loss.nats_per_token(),
            bits_per_byte: loss.bits_per_byte(),
            tokens: loss.tokens,
        }))?;
        Ok(Some(loss.nats_per_token()))
    }
}
