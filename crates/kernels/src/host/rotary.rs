//! Rotary position embedding from one strided tensor into another.

use super::lanes::wide;
use super::matmul::Matrix;
use super::{Element, Shared, Threads};

/// `[batch, heads, seq, head_dim]` with any strides, the last 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a, E> {
    pub data: &'a [E],
    /// Strides of batch, head and position.
    pub strides: [usize; 3],
}

impl<'a, E> View<'a, E> {
    /// One head from position `start` on.
    pub(crate) fn head(&self, batch: usize, head: usize, start: usize) -> &'a [E] {
        &self.data[batch * self.strides[0] + head * self.strides[1] + start * self.strides[2]..]
    }
}

impl<'a> View<'a, f32> {
    /// [`Self::head`] with a row for each position.
    pub(crate) fn matrix(&self, batch: usize, head: usize, start: usize) -> Matrix<'a> {
        Matrix::rows(self.head(batch, head, start), self.strides[2])
    }
}

/// Cosines and sines, `[batch or 1, seq, half]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Angles<'a> {
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    /// Whether all rows share one table.
    pub shared: bool,
}

/// Rotates the pairs `(x[j], x[j + half])` of `[batch, heads, seq, 2·half]` by their angles or, for a gradient, back.
/// `out` is `[batch, seq, heads, 2·half]` in memory, the layout of the operations before and after.
pub(crate) fn rotary<E: Element>(
    x: View<'_, E>,
    [batch, heads, seq, dim]: [usize; 4],
    angles: Angles<'_>,
    back: bool,
    out: &mut [E],
    threads: Threads,
) {
    /// Positions per task.
    const POSITIONS: usize = 32;
    let half = dim / 2;
    let sign = if back { -1.0 } else { 1.0 };
    let blocks = seq.div_ceil(POSITIONS);
    let out = Shared::new(out);
    threads.each(batch * blocks, |task| {
        let (row, begin) = (task / blocks, task % blocks * POSITIONS);
        let count = POSITIONS.min(seq - begin);
        let first = if angles.shared { 0 } else { row * seq };
        // SAFETY: tasks have disjoint positions.
        let out = unsafe { out.part((row * seq + begin) * heads * dim, count * heads * dim) };
        wide(
            #[inline(always)]
            || {
                for (position, out) in (begin..).zip(out.chunks_exact_mut(heads * dim)) {
                    let at = (first + position) * half;
                    let (cos, sin) = (&angles.cos[at..][..half], &angles.sin[at..][..half]);
                    for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                        let (x, y) = x.head(row, head, position)[..dim].split_at(half);
                        let (rotated_x, rotated_y) = out.split_at_mut(half);
                        let inputs = x.iter().zip(y).zip(cos.iter().zip(sin));
                        for ((out_x, out_y), ((x, y), (cos, sin))) in
                            rotated_x.iter_mut().zip(rotated_y).zip(inputs)
                        {
                            let (x, y, sin) = (x.get(), y.get(), sign * sin);
                            *out_x = E::of(x * cos - y * sin);
                            *out_y = E::of(y * cos + x * sin);
                        }
                    }
                }
            },
        );
    });
}
