//! Cross-entropy of a linear head, with its gradients, a block of tokens at a time.
//!
//! The loss is the last thing a step computes, so its gradients are wanted at once: each block's logits are turned
//! into probabilities and then into gradients where they lie, and the logits of the whole batch never exist. The
//! work is three matrix products, as without fusion.

use crate::host::matmul::{Cores, matmul};
use crate::host::{Threads, loss_block, loss_rows};
use crate::loss::Wanted;

/// Shapes of `hidden: [tokens, width]` and `weight: [vocab, width]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub tokens: usize,
    pub width: usize,
    pub vocab: usize,
}

/// Gradients of the summed loss, as far as they are wanted.
#[derive(Debug, Clone)]
pub(super) struct LossGradients {
    pub hidden: Option<Vec<f32>>,
    pub weight: Option<Vec<f32>>,
}

/// −ln p(target) of each token, multiplied by its weight, 0 where there is no target, and the `wanted` gradients of their
/// sum.
pub(super) fn cross_entropy(
    hidden: &[f32],
    weight: &[f32],
    targets: &Wanted,
    shape: Shape,
    [of_hidden, of_weight]: [bool; 2],
) -> (Vec<f32>, LossGradients) {
    let Shape { tokens, width, vocab } = shape;
    let mut gradients = LossGradients {
        hidden: of_hidden.then(|| vec![0.0; tokens * width]),
        weight: of_weight.then(|| vec![0.0; vocab * width]),
    };
    let most = loss_block(vocab).min(tokens);
    let mut logits = vec![0.0; most * vocab];
    let mut losses = vec![0.0; tokens];
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
            Cores::All,
        );
        let span = start..start + rows;
        loss_rows(logits, targets, span.clone(), &mut losses[span], Threads::Rayon);
        if let Some(into) = &mut gradients.hidden {
            matmul(
                &mut into[start * width..(start + rows) * width],
                [rows, width, vocab],
                width,
                (logits, [vocab, 1]),
                (weight, [width, 1]),
                false,
                Cores::All,
            );
        }
        if let Some(into) = &mut gradients.weight {
            matmul(
                into,
                [vocab, width, rows],
                width,
                (logits, [1, vocab]),
                (block, [width, 1]),
                true,
                Cores::All,
            );
        }
    }
    (losses, gradients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_is_not_computed() {
        let targets = Wanted {
            ids: vec![0, -1, 3],
            weights: None,
        };
        let shape = Shape {
            tokens: 3,
            width: 2,
            vocab: 4,
        };
        for wanted in [[true, true], [true, false], [false, true], [false, false]] {
            let (losses, gradients) = cross_entropy(&[1.0; 6], &[0.5; 8], &targets, shape, wanted);
            assert_eq!(losses.len(), 3);
            assert_eq!([gradients.hidden.is_some(), gradients.weight.is_some()], wanted);
        }
    }
}
