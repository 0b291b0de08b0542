//! A stage on pairs of answers in a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::Device;
use smollm3_conversations::{ConversationsError, Prepared, Result, measured_rows, stage_tokenizer};
use smollm3_engine::trainer::{LoopSettings, train};
use smollm3_engine::{EngineError, Kept, Run, TrainState, Watch, Watched};
use smollm3_model::{SmolLm3, hf};
use smollm3_recipe::{ModelConfig, Phase, Preference, PreferenceLoss, PreparedData, Reference, Stage};
use smollm3_records::{Event, Listener, MeasureRecord, RowRef, SourceName, StageInfo};

use crate::{
    PairBatch, PairEncoder, PairRow, PairRows, Preferred, ReferenceLogProbs, answer_log_probs, pair_loss,
};

/// Runs a stage on pairs to its end, from its newest checkpoint if it has one.
///
/// # Errors
/// The pairs or the reference cannot be had, or as the engine's loop.
pub fn prefer(
    run: &Run,
    stage: &Stage,
    preference: &Preference,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<()> {
    run.verify_parents(stage)?;
    let encoder = PairEncoder::of(&run.recipe, &run.data.tokenizer, stage, preference)?;
    let Run { recipe, data, .. } = run;
    let prepared =
        run.first(|| Prepared::of(recipe, data, stage, &preference.chat.data, &encoder, listener))?;
    let (tokenizer_folder, tokens) = stage_tokenizer(run, stage, &encoder.setup.template)?;
    let pairs_of_sources: Vec<u64> = preference
        .chat
        .data
        .iter()
        .map(|data| {
            prepared
                .reports
                .get(&data.name)
                .map_or(0, |report| report.trained)
        })
        .collect();
    let seed = run.recipe.run.seed;
    let pairs_per_step = stage.optimisation()?.sequences_per_step();
    let rows_of =
        |store, sources: &[u64]| PairRows::new(store, sources, seed, pairs_per_step, preference.row_length.0);
    let rows = rows_of(prepared.train, &pairs_of_sources);
    let held_out = prepared.held_out.map(|store| rows_of(store, &[]));
    listener.on(&Event::Note(format!(
        "{}: {} pairs of {} tokens, prompts counted twice",
        stage.name,
        rows.len(),
        rows.tokens()
    )))?;

    let training = stage.training_on(PreparedData {
        rows: rows.len(),
        tokens: rows.tokens(),
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
        data: [(stage.name.clone(), prepared.fingerprint.clone())].into(),
        lora: stage.lora(),
    };
    let mut against = Against::open(&kept, preference)?;
    let mut compare = |rows: &PairRows, what: &str, listener: &mut dyn Listener| {
        let identity = format!("{what} {} {}", prepared.fingerprint, against.identity);
        let compute = |pairs: &[u64]| against.log_probs_of(rows, pairs);
        run.first(|| ReferenceLogProbs::complete(&prepared.folder, &identity, rows.len(), compute, listener))
    };
    let held_out = match held_out {
        Some(rows) => Some((compare(&rows, "held out", listener)?, rows)),
        None => None,
    };
    let cached = match preference.reference {
        Reference::Cached => Some(compare(&rows, "train", listener)?),
        Reference::Online => None,
    };
    let reference = match &cached {
        // Its memory is given back.
        Some(_) => None,
        None => {
            // All ranks read it.
            run.only_first(|| run.check_whole(stage, &against.folder))?;
            Some(against.model()?)
        }
    };
    drop(against.model.take());

    let names: Vec<String> = preference
        .chat
        .data
        .iter()
        .map(|data| data.name.clone())
        .collect();
    let sources = names.iter().map(|name| SourceName {
        name: name.clone(),
        category: "pairs".to_owned(),
    });
    let share = |pairs: &u64| *pairs as f64 / rows.len().max(1) as f64;
    let shares = names
        .iter()
        .cloned()
        .zip(pairs_of_sources.iter().map(share))
        .collect();
    let shares = |_: &Phase| BTreeMap::clone(&shares);
    let settings = kept.settings(sources.collect(), shares, stop)?;
    let settings = LoopSettings {
        stage: StageInfo {
            loss_unit: "a pair".to_owned(),
            ..settings.stage
        },
        ..settings
    };
    let reached = kept.resume(listener)?;
    let watch = HeldOutPairs {
        run,
        rows: &rows,
        held_out,
        most: measured_rows(stage),
        loss: preference.loss,
    };
    let mut hooks = Watched { kept: &kept, watch };
    let to_device = |rows: Vec<PairRow>| -> smollm3_engine::Result<Vec<PairBatch>> {
        rows.into_iter()
            .map(|row| {
                let known = match (&cached, &reference) {
                    (Some(cached), _) => cached.of(&row),
                    (None, Some(reference)) => {
                        of_reference(answer_log_probs(reference, row.clone(), &run.device)?)?
                    }
                    (None, None) => Vec::new(),
                };
                Ok(PairBatch::new(row, known, &run.device)?)
            })
            .collect()
    };
    // Pairs are dealt out before they are packed: what a row holds is each rank's own.
    let share = run.share(stage, &training)?.in_one_piece(pairs_per_step);
    let host = |step| {
        let pairs = share.of(rows.numbers(step))?;
        Ok(rows.rows_of(&pairs)?)
    };
    train(
        &settings,
        reached,
        &Preferred(preference.loss),
        host,
        to_device,
        &mut hooks,
        listener,
    )?;
    Ok(())
}

/// The reference, whose weights are read when they are needed.
struct Against<'a> {
    kept: &'a Kept<'a>,
    folder: PathBuf,
    checkpoint: hf::Checkpoint,
    /// Stands for the weights and the precision.
    identity: String,
    model: Option<SmolLm3>,
}

impl<'a> Against<'a> {
    fn open(kept: &'a Kept<'a>, preference: &Preference) -> Result<Self> {
        let Kept { run, stage, .. } = kept;
        let start = preference.reference_from.as_ref().unwrap_or(&stage.from);
        let folder = run.checkpoint_of(stage, start)?;
        let checkpoint = hf::Checkpoint::open(&folder).map_err(EngineError::from)?;
        let (ours, its) = (kept.config.vocab_size, checkpoint.config.vocab_size);
        if ours != its {
            return Err(ConversationsError::Refused(format!(
                "stage \"{}\": the reference {} has a vocabulary of {its}, the model one of {ours}; they must have the same \
                 tokenizer",
                stage.name,
                folder.display()
            )));
        }
        let weights = run.from_first(|| run.identity(&folder))?;
        Ok(Self {
            kept,
            identity: format!("{weights} {:?}", run.precision()),
            folder,
            checkpoint,
            model: None,
        })
    }

    fn model(&mut self) -> Result<SmolLm3> {
        if self.model.is_none() {
            let Kept { run, stage, .. } = self.kept;
            // Not with the other ranks: as a rule only rank 0 needs it.
            if run.ranks.rank() == 0 {
                run.check_whole(stage, &self.folder)?;
            }
            let model = self.checkpoint.model(&run.device).map_err(EngineError::from)?;
            self.model = Some(model.with_precision(run.precision()));
        }
        self.model.clone().ok_or_else(|| unreachable!("it was just read"))
    }

    fn log_probs_of(&mut self, rows: &PairRows, pairs: &[u64]) -> Result<Vec<[f64; 2]>> {
        let model = self.model()?;
        Ok(of_reference(log_probs(
            &model,
            rows,
            pairs,
            &self.kept.run.device,
        )?)?)
    }
}

/// A reference's log-probabilities, all of which must be numbers: no pair can be learned from others.
fn of_reference(found: Vec<[f64; 2]>) -> smollm3_engine::Result<Vec<[f64; 2]>> {
    match found.iter().flatten().find(|value| !value.is_finite()) {
        None => Ok(found),
        Some(value) => Err(EngineError::Refused(format!(
            "the reference's log-probability of an answer is {value}: its weights are damaged, or its numbers overflow in \
             this precision; name another checkpoint in reference_from, or write run.precision = \"f32\""
        ))),
    }
}

/// Log-probabilities of the answers of some pairs, in their order.
fn log_probs(model: &SmolLm3, rows: &PairRows, pairs: &[u64], device: &Device) -> Result<Vec<[f64; 2]>> {
    let mut found: Vec<(u64, [f64; 2])> = Vec::with_capacity(pairs.len());
    for row in rows.rows_of(pairs)? {
        let numbers: Vec<u64> = row.pairs.iter().map(|span| span.pair).collect();
        let values = answer_log_probs(model, row, device).map_err(EngineError::from)?;
        found.extend(numbers.into_iter().zip(values));
    }
    // Rows are in another order, and every pair is in one of them.
    found.sort_by_key(|(pair, _)| *pair);
    Ok(found.into_iter().map(|(_, values)| values).collect())
}

/// Loss, margin and accuracy on pairs that are not trained on.
struct HeldOutPairs<'a> {
    run: &'a Run,
    rows: &'a PairRows,
    /// Pairs that are not trained on, and the reference's log-probabilities of them.
    held_out: Option<(ReferenceLogProbs, PairRows)>,
    /// How many of them are evaluated.
    most: u64,
    loss: PreferenceLoss,
}

impl Watch for HeldOutPairs<'_> {
    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        let row = |number| RowRef {
            source: "pairs".to_owned(),
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
        let Some((reference, rows)) = &self.held_out else {
            return Ok(None);
        };
        let take = rows.len().min(self.most);
        let pairs: Vec<u64> = (0..take).map(|i| i * rows.len() / take).collect();
        let found = log_probs(&state.model.valid(), rows, &pairs, &self.run.device)?;
        let ratios: Vec<[f64; 2]> = found
            .into_iter()
            .zip(&pairs)
            .map(|(values, pair)| {
                let known = reference.pair(*pair);
                [values[0] - known[0], values[1] - known[1]]
            })
            .collect();
        let beta = self.loss.beta;
        type Measure<'m> = &'m dyn Fn(&[f64; 2]) -> f64;
        let measures: [(&str, Measure<'_>); 3] = [
            ("loss of pairs", &|ratios| {
                pair_loss(&self.loss, ratios[0], ratios[1]).value
            }),
            ("reward margin", &|ratios| beta * (ratios[0] - ratios[1])),
            (
                "preference accuracy",
                &|ratios| match ratios[0].partial_cmp(&ratios[1]) {
                    Some(order) => f64::from(u8::from(order.is_gt())),
                    None => f64::NAN,
                },
            ),
        ];
        let mut means = Vec::new();
        for (name, measure) in measures {
            let values: Vec<f64> = ratios.iter().map(measure).collect();
            let record = MeasureRecord::mean(step, phase, name, &values);
            means.push(record.value);
            listener.on(&Event::Measured(record))?;
        }
        // The first is the loss.
        Ok(means.first().copied())
    }
}
