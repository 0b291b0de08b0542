//! Cross-entropy of rows of logits, which become their own gradients.

use super::lanes::{exp_row, largest, wide};
use super::{Shared, Threads};

/// Logits that are held at once, 64 MiB, unless the vocabulary is beyond half a million.
const LOGITS: usize = 16 << 20;

/// Tokens whose logits are held at once. The products want many; beyond some hundreds they gain nothing.
pub(crate) fn loss_block(vocab: usize) -> usize {
    (LOGITS / vocab.max(1)).clamp(32, 512)
}

/// −ln p(target) of each row into `losses`, 0 where there is no target (`targets[i] < 0`). Each row becomes the gradient
/// of its loss.
pub(crate) fn loss_rows(logits: &mut [f32], targets: &[i32], losses: &mut [f32], threads: Threads) {
    let vocab = logits.len() / targets.len().max(1);
    let (logits, losses) = (Shared::new(logits), Shared::new(losses));
    threads.each(targets.len(), |row| {
        // SAFETY: each task has a row of its own.
        let (logits, loss) = unsafe { (logits.part(row * vocab, vocab), losses.part(row, 1)) };
        loss[0] = wide(
            #[inline(always)]
            || loss_row(logits, targets[row]),
        );
    });
}

/// The loss of one row of logits, which becomes its gradient: probabilities, less one at the target.
#[inline(always)]
fn loss_row(row: &mut [f32], target: i32) -> f32 {
    let Some(&at_target) = usize::try_from(target).ok().and_then(|target| row.get(target)) else {
        row.fill(0.0);
        return 0.0;
    };
    let largest = largest(row);
    let sum = exp_row(row, 1.0, largest);
    let scale = 1.0 / sum;
    row.iter_mut().for_each(|value| *value *= scale);
    row[target as usize] -= 1.0;
    (f64::from(largest) + f64::from(sum).ln() - f64::from(at_target)) as f32
}
