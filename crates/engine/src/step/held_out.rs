//! Loss on held-out rows, in nats a token and bits a byte.

use burn::module::Module;
use burn::tensor::Device;
use smollm3_corpus::Tokenizer;
use smollm3_model::SmolLm3;
use smollm3_records::{Event, HeldOutRecord};

use super::backward::forward;
use super::batch::{CrossEntropy, MicroBatch, Row};
use crate::Result;

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

/// Loss on rows, all at once.
///
/// # Errors
/// The rows' document starts do not fit their length.
pub fn held_out_rows(model: &SmolLm3, rows: &[Row], bytes: &[u32], device: &Device) -> Result<HeldOut> {
    let batch = MicroBatch::new(rows, device)?;
    let loss = forward(&CrossEntropy, &model.valid(), &batch);
    Ok(HeldOut {
        nats: f64::from(loss.sum.into_scalar::<f32>()),
        tokens: loss.count as u64,
        bytes: rows.iter().map(|row| target_bytes(row, bytes)).sum(),
    })
}

/// −ln p(target) of each token of a batch, 0 where there is no target; nats.
pub fn token_losses(model: &SmolLm3, batch: &MicroBatch) -> Vec<f32> {
    forward(&CrossEntropy, model, batch)
        .losses
        .into_data()
        .iter()
        .collect()
}

fn target_bytes(row: &Row, bytes: &[u32]) -> u64 {
    row.targets
        .iter()
        .flatten()
        .filter_map(|id| bytes.get(*id as usize))
        .map(|bytes| u64::from(*bytes))
        .sum()
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
