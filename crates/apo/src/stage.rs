//! A stage on pairs of answers in a run.

use std::sync::atomic::AtomicBool;

use smollm3_conversations::{Earlier, Prepared, Result, chat_checkpoints, measured_rows};
use smollm3_engine::checkpoint::check_data;
use smollm3_engine::ranks::rank_zero_first;
use smollm3_engine::{EpochData, EpochOrder, RankSlice, Run, run_stage};
use smollm3_recipe::{Preference, PreparedData, Recipe, Reference, Stage};
use smollm3_records::{Event, Listener};

use crate::encoder::PairEncoder;
use crate::held_out::HeldOutPairs;
use crate::objective::{Preferred, ReferenceSource};
use crate::pair_rows::PairRows;
use crate::reference::ReferenceLogProbs;
use crate::reference_model::ReferenceModel;

/// The name of the reference among the fingerprints of the stage's data. No stage can have it.
const REFERENCE: &str = "reference weights";

/// The pairs of a stage that an earlier run or preparation left in the folder of `recipe`'s run. No row of the data is read:
/// the stage itself notices a file that has changed since.
pub fn prepared_data(recipe: &Recipe, stage: &Stage) -> Option<PreparedData> {
    let earlier = Earlier::of(recipe, stage)?;
    Some(PreparedData {
        rows: earlier.total(|report| report.trained),
        tokens: earlier.total(|report| report.tokens),
    })
}

/// Runs a stage on pairs to its end, from its newest checkpoint if it has one.
///
/// # Errors
/// The pairs or the reference are not available, or as the engine's loop.
pub fn prefer(
    run: &Run,
    stage: &Stage,
    preference: &Preference,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<()> {
    run.verify_parents(stage)?;
    let encoder = PairEncoder::of(&run.recipe, &run.data.tokenizer, stage, preference)?;
    let prepared = Prepared::on_ranks(run, stage, &preference.chat.data, &encoder, listener)?;
    let sources = preference.chat.data.iter().map(|data| {
        let report = prepared.reports.get(&data.name);
        (data.name.clone(), report.map_or(0, |report| report.trained))
    });
    let sources: Vec<(String, u64)> = sources.collect();
    let pairs_of_sources: Vec<u64> = sources.iter().map(|(_, pairs)| *pairs).collect();
    let row_length = preference.row_length.0;
    let pairs = PairRows::new(prepared.train, &pairs_of_sources, row_length);
    let held_out = prepared
        .held_out
        .map(|store| PairRows::new(store, &[], row_length));
    listener.on(&Event::Note(format!(
        "{}: {} pairs of {} tokens, prompts counted twice",
        stage.name,
        pairs.count(),
        pairs.tokens()
    )))?;

    if let Some(note) = stage.few_rows(pairs.count()) {
        listener.on(&Event::Note(note))?;
    }
    let training = stage.training_on(PreparedData {
        rows: pairs.count(),
        tokens: pairs.tokens(),
    })?;
    let (template, fingerprint) = (&encoder.setup.template, &prepared.fingerprint);
    let mut checkpoints = chat_checkpoints(run, stage, &training, template, fingerprint)?;
    let mut model = ReferenceModel::open(&checkpoints, preference)?;
    let identity = model.identity.clone();
    checkpoints.data.insert(REFERENCE.to_owned(), identity);
    // Before the log-probabilities of another reference are computed.
    check_data(&checkpoints.folder(), &checkpoints.data)?;
    let mut log_probs_of = |rows: &PairRows, which: &str, listener: &mut dyn Listener| {
        let identity = format!("{which} {fingerprint} {}", model.identity);
        let compute = |pairs: &[u64]| model.log_probs(rows, pairs);
        rank_zero_first(&*run.ranks, || {
            ReferenceLogProbs::complete(&prepared.folder, &identity, rows.count(), compute, listener)
        })
    };
    let held_out = match held_out {
        Some(rows) => Some((log_probs_of(&rows, "held out", listener)?, rows)),
        None => None,
    };
    let reference = match preference.reference {
        Reference::Cached => {
            let log_probs = log_probs_of(&pairs, "train", listener)?;
            // Its weights are freed before training.
            drop(model);
            ReferenceSource::Cached(log_probs)
        }
        Reference::Online => ReferenceSource::Online(Box::new(model.on_all_ranks()?)),
    };
    let objective = Preferred {
        loss: preference.loss,
        reference,
    };
    let pairs_per_step = stage.optimisation()?.sequences_per_step();
    let data = EpochData {
        order: EpochOrder::new(pairs.count(), run.recipe.run.seed, "pairs", pairs_per_step),
        // Pairs are dealt out before they are packed: each rank packs its own rows.
        slice: RankSlice::new(&*run.ranks, stage, &training)?.in_one_piece(pairs_per_step),
        steps: training.total_steps(),
        category: "pairs",
        sources,
        read: |numbers: &[u64]| -> smollm3_engine::Result<_> { Ok(pairs.rows_of(numbers)?) },
    };
    let held_out = HeldOutPairs {
        run,
        held_out,
        most: measured_rows(stage),
        loss: preference.loss,
    };
    Ok(run_stage(
        &checkpoints,
        &data,
        &objective,
        &held_out,
        stop,
        listener,
    )?)
}
