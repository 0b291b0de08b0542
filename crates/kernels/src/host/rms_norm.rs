//! Root-mean-square norm of rows, forward and backward, one pass over memory each.

use super::lanes::{sum_of, sum_of_pairs, wide};
use super::{Element, Shared, Threads};

/// Rows per task. Fixed, so that sums over rows do not depend on the number of threads.
const ROWS: usize = 64;

/// `weight · x · s` with `s = 1/√(mean(x²) + epsilon)` into `out`, and the `s` of each row into `scales`. `x · s` is
/// rounded to the dtype of `out` before it is multiplied by the weight, as in transformers.
pub(crate) fn rms_norm<O: Element>(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [O],
    scales: &mut [f32],
    threads: Threads,
) {
    let (width, rows) = (weight.len(), scales.len());
    let (out, scales) = (Shared::new(out), Shared::new(scales));
    threads.each(rows.div_ceil(ROWS), |task| {
        let first = task * ROWS;
        let count = ROWS.min(rows - first);
        let x = &x[first * width..][..count * width];
        // SAFETY: tasks have disjoint rows.
        let (out, scales) = unsafe { (out.part(first * width, count * width), scales.part(first, count)) };
        wide(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scales);
                for ((out, x), scale) in rows {
                    let squares = sum_of(x, |x| x * x);
                    *scale = 1.0 / (squares / width as f32 + epsilon).sqrt();
                    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                        *out = O::of(O::of(x * *scale).get() * weight);
                    }
                }
            },
        );
    });
}

/// Gradients of `x`, into `dx`, and of the weight.
pub(crate) fn rms_norm_backward<O: Element>(
    x: &[f32],
    weight: &[f32],
    scales: &[f32],
    grad: &[O],
    dx: &mut [f32],
    threads: Threads,
) -> Vec<f32> {
    let (width, rows) = (weight.len(), scales.len());
    let tasks = rows.div_ceil(ROWS);
    let mut parts = vec![0.0; tasks * width];
    let (dx, shared) = (Shared::new(dx), Shared::new(&mut parts));
    threads.each(tasks, |task| {
        let first = task * ROWS;
        let count = ROWS.min(rows - first);
        let inputs = first * width..(first + count) * width;
        let (x, grad) = (&x[inputs.clone()], &grad[inputs]);
        // SAFETY: tasks have disjoint rows.
        let (dx, dw) = unsafe {
            (
                dx.part(first * width, count * width),
                shared.part(task * width, width),
            )
        };
        wide(
            #[inline(always)]
            || {
                let rows = dx
                    .chunks_exact_mut(width)
                    .zip(x.chunks_exact(width))
                    .zip(grad.chunks_exact(width))
                    .zip(&scales[first..]);
                for (((dx, x), grad), scale) in rows {
                    row_backward(dx, dw, x, weight, *scale, grad);
                }
            },
        );
    });
    let mut dw = vec![0.0; width];
    for part in parts.chunks_exact(width) {
        dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    dw
}

/// With `g = grad · weight`: `dx = s·g − x·s³·mean(g·x)`, `dw += grad·x·s`.
#[inline(always)]
fn row_backward<O: Element>(
    dx: &mut [f32],
    dw: &mut [f32],
    x: &[f32],
    weight: &[f32],
    scale: f32,
    grad: &[O],
) {
    for ((dx, grad), weight) in dx.iter_mut().zip(grad).zip(weight) {
        *dx = grad.get() * weight;
    }
    let mixed = sum_of_pairs(dx, x, |g, x| g * x);
    let along = mixed * scale * scale * scale / x.len() as f32;
    for (((dx, dw), x), grad) in dx.iter_mut().zip(dw).zip(x).zip(grad) {
        *dx = *dx * scale - x * along;
        *dw += grad.get() * x * scale;
    }
}
