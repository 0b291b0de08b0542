//! Root-mean-square norm of rows, forward and backward, one pass over memory each.

use rayon::prelude::*;

use super::lanes::{sum_of_pairs, wide};

/// Rows that one task computes. Fixed, so that sums over rows do not depend on the number of threads.
const ROWS: usize = 64;

/// `weight · x · s` with `s = 1/√(mean(x²) + epsilon)`, and the `s` of each row.
pub(super) fn forward(x: &[f32], weight: &[f32], epsilon: f32) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let mut out = vec![0.0; x.len()];
    let mut scales = vec![0.0; x.len() / width];
    out.par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width))
        .zip(scales.par_chunks_mut(ROWS))
        .for_each(|((out, x), scales)| {
            wide(
                #[inline(always)]
                || {
                    let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scales);
                    for ((out, x), scale) in rows {
                        let squares = sum_of_pairs(x, x, |x, y| x * y);
                        *scale = 1.0 / (squares / width as f32 + epsilon).sqrt();
                        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                            *out = x * *scale * weight;
                        }
                    }
                },
            );
        });
    (out, scales)
}

/// Gradients of `x` and of the weight.
pub(super) fn backward(x: &[f32], weight: &[f32], scales: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let mut dx = vec![0.0; x.len()];
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width))
        .zip(grad.par_chunks(ROWS * width))
        .zip(scales.par_chunks(ROWS))
        .map(|(((dx, x), grad), scales)| {
            let mut dw = vec![0.0; width];
            wide(
                #[inline(always)]
                || {
                    let rows = dx
                        .chunks_exact_mut(width)
                        .zip(x.chunks_exact(width))
                        .zip(grad.chunks_exact(width))
                        .zip(scales);
                    for (((dx, x), grad), scale) in rows {
                        row_backward(dx, &mut dw, x, weight, *scale, grad);
                    }
                },
            );
            dw
        })
        .collect();
    let mut dw = vec![0.0; width];
    for part in parts {
        dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    (dx, dw)
}

/// With `g = grad · weight`: `dx = s·g − x·s³·mean(g·x)`, `dw += grad·x·s`.
#[inline(always)]
fn row_backward(dx: &mut [f32], dw: &mut [f32], x: &[f32], weight: &[f32], scale: f32, grad: &[f32]) {
    for ((dx, grad), weight) in dx.iter_mut().zip(grad).zip(weight) {
        *dx = grad * weight;
    }
    let mixed = sum_of_pairs(dx, x, |g, x| g * x);
    let along = mixed * scale * scale * scale / x.len() as f32;
    for (((dx, dw), x), grad) in dx.iter_mut().zip(dw).zip(x).zip(grad) {
        *dx = *dx * scale - x * along;
        *dw += grad * x * scale;
    }
}
