//! The gate of the feed-forward block, forward and backward, one pass over memory each.

use rayon::prelude::*;

use super::lanes::{sigmoid, wide};

/// Numbers that one task computes.
const CHUNK: usize = 16 * 1024;

/// `gate · sigmoid(gate) · up`.
pub(super) fn forward(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; gate.len()];
    out.par_chunks_mut(CHUNK)
        .zip(gate.par_chunks(CHUNK))
        .zip(up.par_chunks(CHUNK))
        .for_each(|((out, gate), up)| {
            wide(
                #[inline(always)]
                || {
                    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                        *out = gate * sigmoid(*gate) * up;
                    }
                },
            );
        });
    out
}

/// Gradients of `gate` and `up`.
pub(super) fn backward(gate: &[f32], up: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut dgate, mut dup) = (vec![0.0; gate.len()], vec![0.0; up.len()]);
    dgate
        .par_chunks_mut(CHUNK)
        .zip(dup.par_chunks_mut(CHUNK))
        .zip(gate.par_chunks(CHUNK))
        .zip(up.par_chunks(CHUNK))
        .zip(grad.par_chunks(CHUNK))
        .for_each(|((((dgate, dup), gate), up), grad)| {
            wide(
                #[inline(always)]
                || {
                    let inputs = gate.iter().zip(up).zip(grad);
                    for ((dgate, dup), ((gate, up), grad)) in dgate.iter_mut().zip(dup).zip(inputs) {
                        let open = sigmoid(*gate);
                        *dup = grad * gate * open;
                        *dgate = grad * up * open * (1.0 + gate * (1.0 - open));
                    }
                },
            );
        });
    (dgate, dup)
}
