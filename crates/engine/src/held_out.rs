//! Loss on held-out rows, in nats a token and bits a byte.

use std::collections::BTreeMap;

use burn::module::Module;
use smollm3_corpus::Tokenizer;
use smollm3_model::SmolLm3;
use smollm3_records::{Event, HeldOutRecord};

use crate::step::forward;
use crate::{CrossEntropy, MicroBatch, Result, Row, Run};

/// Summed loss over a piece of text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HeldOut {
    /// Σ −ln p, nats.
    pub nats: f64,
    /// Tokens predicted.
    pub tokens: u64,
    /// Bytes of text of these tokens.
    pub bytes: u64,
}

impl HeldOut {
    /// Mean loss of a token, nats.
    pub fn nats_per_token(&self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }

    /// The event that reports it.
    pub fn event(&self, step: u64, phase: &str, category: &str) -> Event {
        Event::HeldOut(HeldOutRecord {
            step,
            phase: phase.to_owned(),
            category: category.to_owned(),
            nats_per_token: self.nats_per_token(),
            bits_per_byte: self.bits_per_byte(),
            tokens: self.tokens,
        })
    }

    /// Bits needed for a byte of text; comparable between tokenizers.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.bytes.max(1) as f64
    }
}

impl std::ops::AddAssign for HeldOut {
    fn add_assign(&mut self, other: Self) {
        self.nats += other.nats;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }
}

/// Loss on rows, `rows_at_once` at a time.
///
/// # Errors
/// The rows' document starts do not fit their length.
pub fn held_out_loss(run: &Run, model: &SmolLm3, rows: &[Row], rows_at_once: usize) -> Result<HeldOut> {
    summed_loss(
        run,
        &model.valid(),
        &token_bytes(&run.data.tokenizer),
        rows,
        rows_at_once,
    )
}

/// [`held_out_loss`] of a model without autodiff; `bytes` are those of each token.
fn summed_loss(
    run: &Run,
    model: &SmolLm3,
    bytes: &[u32],
    rows: &[Row],
    rows_at_once: usize,
) -> Result<HeldOut> {
    let mut total = HeldOut::default();
    for rows in rows.chunks(rows_at_once.max(1)) {
        let batch = MicroBatch::new(rows, &run.device)?;
        let loss = forward(&CrossEntropy, model, &batch);
        let targets = rows.iter().flat_map(|row| row.targets.iter().flatten());
        let bytes = targets.filter_map(|id| bytes.get(*id as usize));
        total += HeldOut {
            nats: f64::from(loss.sum.into_scalar::<f32>()),
            tokens: batch.targets.count() as u64,
            bytes: bytes.map(|bytes| u64::from(*bytes)).sum(),
        };
    }
    Ok(total)
}

/// Loss on the text of each category that the run keeps out of training: up to `rows` rows of `length` tokens a source,
/// `rows_at_once` at a time.
///
/// # Errors
/// A store cannot be read.
pub fn held_out_by_category(
    run: &Run,
    model: &SmolLm3,
    length: u64,
    rows: u64,
    rows_at_once: usize,
) -> Result<BTreeMap<String, HeldOut>> {
    let (model, bytes) = (model.valid(), token_bytes(&run.data.tokenizer));
    let mut by_category: BTreeMap<String, HeldOut> = BTreeMap::new();
    for (name, store) in &run.data.stores {
        let (Some(held_out), Some(source)) = (&store.held_out, run.recipe.sources.get(name)) else {
            continue;
        };
        let reader = run.data.held_out_reader(held_out, length)?;
        let windows = spread(reader.windows(), rows);
        let rows = windows.map(|window| Ok(Row::of_window(&reader.read(window)?, 0)));
        let rows: Vec<Row> = rows.collect::<Result<_>>()?;
        let loss = summed_loss(run, &model, &bytes, &rows, rows_at_once)?;
        if loss.tokens > 0 {
            *by_category.entry(source.category.clone()).or_default() += loss;
        }
    }
    Ok(by_category)
}

/// Up to `most` of the numbers below `count`, evenly spread.
pub fn spread(count: u64, most: u64) -> impl Iterator<Item = u64> {
    let take = count.min(most);
    (0..take).map(move |index| index * count / take)
}

/// −ln p(target) of each token of a batch, 0 where there is no target; nats.
pub fn token_losses(model: &SmolLm3, batch: &MicroBatch) -> Vec<f32> {
    forward(&CrossEntropy, model, batch)
        .losses
        .into_data()
        .iter()
        .collect()
}

/// The number of bytes of text of each token of a byte-level tokenizer; 0 for special tokens.
pub fn token_bytes(tokenizer: &Tokenizer) -> Vec<u32> {
    let added = tokenizer.inner().get_added_tokens_decoder();
    (0..tokenizer.info().vocab_size)
        .map(|id| match added.get(&id) {
            Some(token) if token.special => 0,
            Some(token) => token.content.len() as u32,
            // The byte-level alphabet spells each byte as one character.
            None => tokenizer
                .inner()
                .id_to_token(id)
                .map_or(0, |token| token.chars().count() as u32),
        })
        .collect()
}
