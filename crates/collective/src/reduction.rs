//! How the values of all ranks are combined: always in the order of ranks.
//!
//! A sum of `f32` is carried in `f64` and rounded once. With 29 bits more than the parts have, no order of additions
//! would change it but in rare cases, so another grouping of the same batch over ranks gives the same sum up to
//! what the ranks themselves rounded. Adding is bound by memory, so the wider sum costs no time.

/// How the values of all ranks are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The greatest; NaN if any is.
    Max,
    /// The smallest; NaN if any is.
    Min,
}

impl Reduction {
    /// Two values become one.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => a + b,
            _ if a.is_nan() || b.is_nan() => f64::NAN,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
        }
    }
}

/// Elements that are summed at once, so that their `f64` sums stay in the first cache.
const BLOCK: usize = 1024;

/// Makes `own`, the values of rank `rank`, the sum over all ranks. `others` has those of the other ranks one after
/// another, each as many as `own`.
pub fn sum_in_rank_order(own: &mut [f32], rank: usize, others: &[f32]) {
    let count = own.len();
    if count == 0 {
        return;
    }
    let (before, after) = others.split_at(rank * count);
    let mut sums = [0f64; BLOCK];
    for (block, own) in own.chunks_mut(BLOCK).enumerate() {
        let range = block * BLOCK..block * BLOCK + own.len();
        let sums = &mut sums[..own.len()];
        // The neutral element of addition, also for a negative zero.
        sums.fill(-0.0);
        let parts_before = before.chunks_exact(count).map(|part| &part[range.clone()]);
        let parts_after = after.chunks_exact(count).map(|part| &part[range.clone()]);
        for part in parts_before.chain([&*own]).chain(parts_after) {
            for (sum, &value) in sums.iter_mut().zip(part) {
                *sum += f64::from(value);
            }
        }
        for (value, &sum) in own.iter_mut().zip(&*sums) {
            *value = sum as f32;
        }
    }
}
