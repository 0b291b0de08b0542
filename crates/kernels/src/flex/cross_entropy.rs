//! Cross-entropy of a linear head, with its gradients, a block of tokens at a time.
//!
//! The loss is the last thing a step computes, so its gradients are wanted at once: each block's logits are turned
//! into probabilities and then into gradients where they lie, and the logits of the whole batch never exist. The
//! work is three matrix products, as without fusion.

use rayon::prelude::*;

use super::lanes::{exp_row, largest, wide};
use super::matmul::{Threads, matmul};

/// Logits that are held at once, 64 MiB, unless the vocabulary is beyond half a million.
const LOGITS: usize = 16 << 20;

/// Tokens whose logits are held at once. The products want many; beyond some hundreds they gain nothing.
fn block(vocab: usize) -> usize {
    (LOGITS / vocab).clamp(32, 512)
}

/// Shapes of `hidden: [tokens, width]` and `weight: [vocab, width]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub tokens: usize,
    pub width: usize,
    pub vocab: usize,
}

/// Gradients of the summed loss.
#[derive(Debug, Clone)]
pub(super) struct LossGradients {
    pub hidden: Vec<f32>,
    pub weight: Vec<f32>,
}

/// Σ −ln p(target) over the tokens that have a target (`targets[i] ≥ 0`), and its gradients if asked for.
pub(super) fn cross_entropy(
    hidden: &[f32],
    weight: &[f32],
    targets: &[i32],
    shape: Shape,
    with_gradients: bool,
) -> (f64, Option<LossGradients>) {
    let Shape { tokens, width, vocab } = shape;
    let mut gradients = with_gradients.then(|| LossGradients {
        hidden: vec![0.0; tokens * width],
        weight: vec![0.0; vocab * width],
    });
    let most = block(vocab).min(tokens);
    let mut logits = vec![0.0; most * vocab];
    let mut total = 0.0;
    for start in (0..tokens).step_by(most.max(1)) {
        let rows = most.min(tokens - start);
        let logits = &mut logits[..rows * vocab];
        let block = &hidden[start * width..(start + rows) * width];
        // logits = block · weightᵀ
        matmul(
            logits,
            [rows, vocab, width],
            vocab,
            (block, [width, 1]),
            (weight, [1, width]),
            false,
            Threads::All,
        );
        let losses: Vec<f64> = logits
            .par_chunks_mut(vocab)
            .zip(&targets[start..start + rows])
            .map(|(row, target)| {
                wide(
                    #[inline(always)]
                    || row_loss(row, *target),
                )
            })
            .collect();
        // Summed in order, so that the number of threads does not show.
        total += losses.iter().sum::<f64>();
        if let Some(gradients) = &mut gradients {
            let into = &mut gradients.hidden[start * width..(start + rows) * width];
            matmul(
                into,
                [rows, width, vocab],
                width,
                (logits, [vocab, 1]),
                (weight, [width, 1]),
                false,
                Threads::All,
            );
            matmul(
                &mut gradients.weight,
                [vocab, width, rows],
                width,
                (logits, [1, vocab]),
                (block, [width, 1]),
                true,
                Threads::All,
            );
        }
    }
    (total, gradients)
}

/// The loss of one row of logits, which becomes its gradient: probabilities, less one at the target.
#[inline(always)]
fn row_loss(row: &mut [f32], target: i32) -> f64 {
    let Some(&at_target) = usize::try_from(target).ok().and_then(|target| row.get(target)) else {
        row.fill(0.0);
        return 0.0;
    };
    let largest = largest(row);
    let sum = exp_row(row, 1.0, largest);
    let scale = 1.0 / sum;
    row.iter_mut().for_each(|value| *value *= scale);
    row[target as usize] -= 1.0;
    f64::from(largest) + f64::from(sum).ln() - f64::from(at_target)
}
