//! The evaluation of one checkpoint: `evaluation.json` in its stage's folder.

use smollm3_chat::Template;
use smollm3_corpus::TokenStore;
use smollm3_engine::{HeldOut, Run, checkpoint, held_out_by_category};
use smollm3_model::SmolLm3;
use smollm3_model::hf::{Checkpoint, CheckpointError, GenerationConfig};
use smollm3_recipe::{Evaluation as Asked, LongContextProbes, Stage};
use smollm3_records::{
    Evaluation, Event, Listener, PositionLoss, ProbeScore, TextLoss, read_evaluation, stage_result,
    write_evaluation,
};

use crate::error::finite;
use crate::{EvalError, Result, exact_match, loss_by_position, preference, probe_scores};

/// Rows of held-out text that are computed at once.
const ROWS_AT_ONCE: usize = 8;

/// Evaluates the checkpoint that stands for a stage as the recipe's `[evaluation]` says, and writes `evaluation.json` into the
/// stage's folder, unless it is there and up to date. `None` if the recipe asks for nothing, or the stage has no checkpoint.
///
/// # Errors
/// The checkpoint cannot be read or evaluated, a result is not finite, or the listener ends the work.
pub fn evaluate_stage(run: &Run, stage: &Stage, listener: &mut dyn Listener) -> Result<Option<Evaluation>> {
    let asked = &run.recipe.evaluation;
    if *asked == Asked::default() {
        return Ok(None);
    }
    let folder = run.stage_folder(&stage.name);
    let Some(path) = stage_result(stage, &folder)? else {
        return Ok(None);
    };
    let damaged = |problem: String| EvalError::Results {
        path: path.clone(),
        problem: format!(
            "{problem}; remove this checkpoint, and the stage is trained again from the one before"
        ),
    };
    let identity =
        checkpoint::identity(&path)?.ok_or_else(|| damaged("it has no manifest.json".to_owned()))?;
    if let Some(known) = read_evaluation(&folder)?
        && known.checkpoint == identity
        && known.asked == *asked
    {
        return Ok(Some(known));
    }
    let progress = checkpoint::verify(&path, &run.hashes).map_err(damaged)?;
    let mut evaluation = Evaluation {
        checkpoint: identity,
        step: progress.step,
        asked: asked.clone(),
        ..Evaluation::default()
    };
    let mut checkpoint = Checkpoint::open(&path)?;
    // Beyond the trained length, too: that is where a longer context shows.
    let probes = asked.long_context.iter().flat_map(|probes| &probes.lengths);
    let lengths = probes.chain(asked.held_out.as_ref().map(|text| &text.sequence_length));
    let longest = lengths.map(|length| length.0 as usize).max().unwrap_or(0);
    checkpoint.config.max_position_embeddings = checkpoint.config.max_position_embeddings.max(longest);
    let model = checkpoint.model_in(run.precision(), &run.device)?;
    if let Some(probes) = &asked.long_context {
        (evaluation.long_context, evaluation.loss_by_position) =
            long_context(run, stage, probes, &model, listener)?;
    }
    if let Some(text) = &asked.held_out {
        report_progress(stage, "held-out loss", 0, 1, listener)?;
        let length = text.sequence_length.0;
        let found = held_out_by_category(run, &model, length, text.rows, ROWS_AT_ONCE)?;
        let loss = |(category, loss): (String, HeldOut)| {
            let found = TextLoss {
                nats_per_token: finite(loss.nats_per_token(), || {
                    format!("the loss on held-out {category}")
                })?,
                bits_per_byte: loss.bits_per_byte(),
                tokens: loss.tokens,
            };
            Ok((category, found))
        };
        evaluation.held_out = found.into_iter().map(loss).collect::<Result<_>>()?;
        report_progress(stage, "held-out loss", 1, 1, listener)?;
    }
    let template = Template::of_checkpoint(&path)?;
    if let (Some(pairs), Some(template)) = (&asked.preference, &template) {
        let tokenizer = &run.data.tokenizer;
        evaluation.preference = preference(&model, tokenizer, template, pairs, &mut |done, total| {
            report_progress(stage, "pairs of sums", done, total, listener)
        })?;
    }
    if let (Some(questions), Some(template)) = (&asked.exact_match, &template) {
        let mut stop = GenerationConfig::of_checkpoint(&path)
            .map_err(CheckpointError::from)?
            .end_tokens;
        if stop.is_empty() {
            stop.push(run.data.tokenizer.info().end_of_text);
        }
        evaluation.exact_match = exact_match(
            &model,
            &run.data.tokenizer,
            template,
            &stop,
            questions,
            &mut |done, total| report_progress(stage, "sums", done, total, listener),
        )?;
    }
    write_evaluation(&folder, &evaluation)?;
    Ok(Some(evaluation))
}

fn report_progress(
    stage: &Stage,
    what: &str,
    done: u64,
    total: u64,
    listener: &mut dyn Listener,
) -> Result<()> {
    let what = format!("{}: {what}", stage.name);
    Ok(listener.on(&Event::Preparing { what, done, total })?)
}

fn long_context(
    run: &Run,
    stage: &Stage,
    probes: &LongContextProbes,
    model: &SmolLm3,
    listener: &mut dyn Listener,
) -> Result<(Vec<ProbeScore>, Vec<PositionLoss>)> {
    let mut lengths: Vec<usize> = probes.lengths.iter().map(|length| length.0 as usize).collect();
    lengths.sort_unstable();
    let scores = match probes.tasks.is_empty() {
        true => Vec::new(),
        false => probe_scores(model, &run.data.tokenizer, probes, &mut |done, total| {
            report_progress(stage, "long-context probes", done, total, listener)
        })?,
    };
    let stores = run
        .data
        .stores
        .values()
        .filter_map(|store| store.held_out.as_ref());
    let stores: Vec<TokenStore> = stores
        .map(TokenStore::open)
        .collect::<std::result::Result<_, _>>()?;
    let losses = loss_by_position(
        model,
        &stores,
        &lengths,
        probes.documents as usize,
        &run.device,
        &mut |done, total| report_progress(stage, "loss by position", done, total, listener),
    )?;
    Ok((scores, losses))
}
