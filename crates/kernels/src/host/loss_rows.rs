//! Cross-entropy of rows of logits, which become their own gradients.

use std::ops::Range;

use super::lanes::{exp_row, largest, wide};
use super::{Shared, Threads};
use crate::host_targets::HostTargets;

/// Logits per block: 64 MiB, up to a vocabulary of half a million.
const LOGITS: usize = 16 << 20;

/// Tokens per block of logits. Products gain from many, but little beyond some hundreds.
pub(crate) fn loss_block(vocab: usize) -> usize {
    (LOGITS / vocab.max(1)).clamp(32, 512)
}

/// Writes the weighted losses of the tokens of `span` into `losses`, from their logits. Each row of logits becomes the gradient
/// of its loss.
pub(crate) fn loss_rows(
    logits: &mut [f32],
    targets: &HostTargets,
    span: Range<usize>,
    losses: &mut [f32],
    threads: Threads,
) {
    let vocab = logits.len() / span.len().max(1);
    let ids = &targets.ids[span.clone()];
    let weights = targets.weights.as_deref().map(|weights| &weights[span]);
    let (logits, losses) = (Shared::new(logits), Shared::new(losses));
    threads.each(ids.len(), |row| {
        // SAFETY: tasks have disjoint rows.
        let (logits, loss) = unsafe { (logits.part(row * vocab, vocab), losses.part(row, 1)) };
        let weight = weights.map_or(1.0, |weights| weights[row]);
        loss[0] = wide(
            #[inline(always)]
            || loss_row(logits, ids[row], weight),
        );
    });
}

/// The loss of one row of logits, which becomes its gradient: (probabilities − 1 at the target) · weight.
#[inline(always)]
fn loss_row(row: &mut [f32], target: i32, weight: f32) -> f32 {
    let Some(&at_target) = usize::try_from(target).ok().and_then(|target| row.get(target)) else {
        row.fill(0.0);
        return 0.0;
    };
    let largest = largest(row);
    let sum = exp_row(row, 1.0, largest);
    let scale = weight / sum;
    row.iter_mut().for_each(|value| *value *= scale);
    row[target as usize] -= weight;
    let loss = f64::from(largest) + f64::from(sum).ln() - f64::from(at_target);
    (f64::from(weight) * loss) as f32
}
