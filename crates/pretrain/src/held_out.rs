//! Loss on text that was kept out of training.

use std::collections::BTreeMap;

use burn::tensor::Device;
use smollm3_engine::{HeldOut, Result, Run, held_out_rows};
use smollm3_mixer::WindowReader;
use smollm3_model::SmolLm3;

use crate::mixed_rows::row_of;

/// Loss on the text of each category that the run keeps out of training: up to `rows` rows of `length` tokens a source,
/// `rows_at_once` at a time. `bytes` are those of each token.
///
/// # Errors
/// A store cannot be read.
pub fn held_out_by_category(
    run: &Run,
    model: &SmolLm3,
    length: u64,
    rows: u64,
    rows_at_once: usize,
    bytes: &[u32],
) -> Result<BTreeMap<String, HeldOut>> {
    let mut by_category: BTreeMap<String, HeldOut> = BTreeMap::new();
    for (name, store) in &run.data.stores {
        let (Some(held_out), Some(source)) = (&store.held_out, run.recipe.sources.get(name)) else {
            continue;
        };
        let reader = run.data.held_out_reader(held_out, length)?;
        let loss = held_out_loss(model, &reader, bytes, rows, rows_at_once, &run.device)?;
        if loss.tokens > 0 {
            *by_category.entry(source.category.clone()).or_default() += loss;
        }
    }
    Ok(by_category)
}

/// Loss on up to `most` of the reader's windows, spread evenly over the store, `rows_at_once` at a time.
///
/// # Errors
/// The store cannot be read.
fn held_out_loss(
    model: &SmolLm3,
    reader: &WindowReader,
    bytes: &[u32],
    most: u64,
    rows_at_once: usize,
    device: &Device,
) -> Result<HeldOut> {
    let windows = reader.windows();
    let take = windows.min(most);
    let mut rows = Vec::new();
    for i in 0..take {
        rows.push(row_of(&reader.read(i * windows / take.max(1))?, 0));
    }
    let mut total = HeldOut::default();
    for rows in rows.chunks(rows_at_once.max(1)) {
        total += held_out_rows(model, rows, bytes, device)?;
    }
    Ok(total)
}
