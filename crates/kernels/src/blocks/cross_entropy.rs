//! Cross-entropy of a linear head over blocks of tokens. The summed loss is linear in its gradient, so the gradients
//! are computed with the losses, from the same logits.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{IndexingUpdateOp, Shape, Slice, TensorData};

use crate::dtype::{accumulator, cast, ints};
use crate::host_targets::HostTargets;
use crate::tracked::Saved;

#[derive(Debug, Clone)]
pub(super) struct SavedLoss<B: Backend> {
    hidden: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
}

/// The losses of all tokens, `[tokens]`, and the wanted gradients of their sum.
///
/// # Shapes
/// - `hidden`: `[tokens, hidden_size]`
/// - `weight`: `[vocab_size, hidden_size]`
pub(super) fn forward<B: Backend>(
    [hidden, weight]: [FloatTensor<B>; 2],
    targets: Arc<HostTargets>,
    block: usize,
    [of_hidden, of_weight]: [bool; 2],
) -> (FloatTensor<B>, SavedLoss<B>) {
    let ([tokens, _], dtype, device) = (hidden.shape().dims(), hidden.dtype(), hidden.device());
    let (weight_dtype, wide) = (weight.dtype(), accumulator(dtype));
    let weight = cast::<B>(weight, dtype);
    let mut losses = Vec::new();
    let mut dh = Vec::new();
    let mut dw: Option<FloatTensor<B>> = None;
    for start in (0..tokens).step_by(block) {
        let rows = start..(start + block).min(tokens);
        let (ids, weights) = columns(&targets, rows.clone());
        let count = rows.len();
        let ids = ints::<B>(ids, [count, 1], &device);
        let weights = B::float_from_data(TensorData::new(weights, [count, 1]), &device);
        let weights = cast::<B>(weights, wide);

        let part = B::float_slice(hidden.clone(), &[rows.into(), Slice::full()]);
        let logits = B::float_matmul(part.clone(), B::float_transpose(weight.clone()));
        let logits = cast::<B>(logits, wide); // [rows, vocab_size]
        let logits = B::float_sub(logits.clone(), B::float_max_dim(logits, 1));
        let of_target = B::float_gather(1, logits.clone(), ids.clone());
        let powers = B::float_exp(logits);
        let sum = B::float_sum_dim(powers.clone(), 1);
        let loss = B::float_sub(B::float_log(sum.clone()), of_target);
        let loss = B::float_mul(loss, weights.clone());
        losses.push(B::float_reshape(loss, Shape::from([count])));
        if !(of_hidden || of_weight) {
            continue;
        }
        // The probabilities, minus 1 at the target.
        let ones = B::float_ones(Shape::from([count, 1]), &device, wide.into());
        let of_logits = B::float_scatter(
            1,
            B::float_div(powers, sum),
            ids,
            B::float_neg(ones),
            IndexingUpdateOp::Add,
        );
        let of_logits = cast::<B>(B::float_mul(of_logits, weights), dtype);
        if of_hidden {
            dh.push(B::float_matmul(of_logits.clone(), weight.clone()));
        }
        if of_weight {
            let term = cast::<B>(B::float_matmul(B::float_transpose(of_logits), part), wide);
            dw = Some(match dw {
                Some(dw) => B::float_add(dw, term),
                None => term,
            });
        }
    }
    let saved = SavedLoss {
        hidden: of_hidden.then(|| B::float_cat(dh, 0)),
        weight: dw.map(|dw| cast::<B>(dw, weight_dtype)),
    };
    (B::float_cat(losses, 0), saved)
}

/// Target and weight of each of these rows; any target, with weight 0, where there is none.
fn columns(targets: &HostTargets, rows: std::ops::Range<usize>) -> (Vec<i32>, Vec<f32>) {
    rows.map(|row| {
        let id = targets.ids[row];
        let weight = targets.weights.as_ref().map_or(1.0, |weights| weights[row]);
        (id.max(0), if id < 0 { 0.0 } else { weight })
    })
    .unzip()
}

impl<B: Backend> Saved<B, 2> for SavedLoss<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 2] {
        // Without reading its value back. All entries are the same: only the sum is differentiated.
        let first = B::float_slice(grad, &[(0..1).into()]);
        let first = B::float_reshape(first, Shape::from([1, 1]));
        [self.hidden, self.weight].map(|gradient| {
            let gradient = gradient?;
            let scale = cast::<B>(first.clone(), gradient.dtype());
            Some(B::float_mul(gradient, scale))
        })
    }
}
