//! Loss by position: whether a token is easier to predict the more of its document comes before it.

use burn::module::Module;
use burn::tensor::Device;
use smollm3_corpus::TokenStore;
use smollm3_engine::{MicroBatch, Row, spread, token_losses};
use smollm3_model::SmolLm3;
use smollm3_records::PositionLoss;

use crate::error::finite;
use crate::{EvalError, Result};

/// Loss between `edges` (increasing), on up to `most` documents that reach the last edge, evenly spread over the
/// stores. The same documents count at all positions, so that only the position differs. Empty if no document is
/// that long.
///
/// # Errors
/// A store cannot be read or has tokens of another tokenizer, or a loss is no number.
pub fn loss_by_position(
    model: &SmolLm3,
    stores: &[TokenStore],
    edges: &[usize],
    most: usize,
    device: &Device,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<PositionLoss>> {
    let Some(&length) = edges.last() else {
        return Ok(Vec::new());
    };
    let documents = long_documents(stores, model.head().dims()[0], length + 1, most)?;
    let model = model.valid();
    let mut parts: Vec<Vec<f64>> = vec![Vec::new(); edges.len()];
    for (done, ids) in documents.iter().enumerate() {
        progress(done as u64, documents.len() as u64)?;
        let row = Row {
            ids: ids[..length].to_vec(),
            targets: ids[1..].iter().copied().map(Some).collect(),
            starts: vec![0],
            source: 0,
        };
        let batch = MicroBatch::new(&[row], device).map_err(smollm3_engine::EngineError::from)?;
        let losses = token_losses(&model, &batch);
        let mut from = 0;
        for (part, to) in parts.iter_mut().zip(edges) {
            let some = losses.get(from..*to).unwrap_or_default();
            let mean = some.iter().map(|loss| f64::from(*loss)).sum::<f64>() / some.len().max(1) as f64;
            part.push(finite(mean, || {
                format!("the loss of a document at positions {from} to {to}")
            })?);
            from = *to;
        }
    }
    let starts = [0].into_iter().chain(edges.iter().copied());
    let found = starts.zip(edges).zip(parts).filter(|(_, part)| !part.is_empty());
    let found = found.map(|((from, to), part)| {
        let documents = part.len() as f64;
        let mean = part.iter().sum::<f64>() / documents;
        let squares: f64 = part.iter().map(|loss| (loss - mean).powi(2)).sum();
        PositionLoss {
            from,
            to: *to,
            loss: mean,
            standard_error: (squares / (documents - 1.0).max(1.0) / documents).sqrt(),
            documents: part.len(),
        }
    });
    Ok(found.collect())
}

/// The first `tokens` tokens of up to `most` documents that have as many. Only these are read.
fn long_documents(
    stores: &[TokenStore],
    vocab_size: usize,
    tokens: usize,
    most: usize,
) -> Result<Vec<Vec<u32>>> {
    let mut long = Vec::new();
    for store in stores {
        for document in 0..store.documents().unwrap_or(0) {
            if store.document(document)?.len() >= tokens {
                long.push((store, document));
            }
        }
    }
    let chosen = spread(long.len() as u64, most as u64).map(|index| long[index as usize]);
    let read = |(store, document): (&TokenStore, u64)| -> Result<Vec<u32>> {
        let ids: Vec<u32> = store.document(document)?.iter().take(tokens).collect();
        EvalError::check_vocabulary(store, &ids, vocab_size)?;
        Ok(ids)
    };
    chosen.map(read).collect()
}
