//! Rotary position embedding out of a strided tensor into a dense one.

use rayon::prelude::*;

use super::lanes::wide;
use super::tensor::View;

/// Cosines and sines, `[batch or 1, seq, half]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Angles<'a> {
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    /// Whether all rows share one table.
    pub shared: bool,
}

/// Turns the pairs `(x[j], x[j + half])` of `[batch, heads, seq, 2·half]` by their angles, or, for a gradient, back;
/// dense.
pub(super) fn rotary(
    x: View<'_>,
    [batch, heads, seq, dim]: [usize; 4],
    angles: Angles<'_>,
    back: bool,
) -> Vec<f32> {
    let half = dim / 2;
    let sign = if back { -1.0 } else { 1.0 };
    let mut out = vec![0.0; batch * heads * seq * dim];
    out.par_chunks_mut(seq * dim)
        .enumerate()
        .for_each(|(index, out)| {
            let (row, head) = (index / heads, index % heads);
            let rows = x.head(row, head, 0);
            let first = if angles.shared { 0 } else { row * seq * half };
            wide(
                #[inline(always)]
                || {
                    for (position, out) in out.chunks_exact_mut(dim).enumerate() {
                        let at = first + position * half;
                        let (cos, sin) = (&angles.cos[at..][..half], &angles.sin[at..][..half]);
                        let (x, y) = rows[position * x.row()..][..dim].split_at(half);
                        let (turned_x, turned_y) = out.split_at_mut(half);
                        for j in 0..half {
                            let sin = sign * sin[j];
                            turned_x[j] = x[j] * cos[j] - y[j] * sin;
                            turned_y[j] = y[j] * cos[j] + x[j] * sin;
                        }
                    }
                },
            );
        });
    out
}
