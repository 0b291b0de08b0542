//! The original's order: largest deficit first, as nanotron blends its sources.
//!
//! SmolLM3 was trained with `build_blending_indices` of nanotron's `nemo_dataset/helpers.cpp` (branch `smollm3`, bc1f5a6):
//! pick `i` goes to the source with the largest `w_j · max(i, 1) − n_j`, ties to the lowest index, where the `w_j` are
//! normalised by numpy. This module gives the same order to the bit: the same double-precision operations in the same
//! sequence, including the association of numpy's sum.
//!
//! Each pick depends on all before it. So the first jump to pick `i` replays `i` picks, some thirty nanoseconds each for
//! fifty sources: about a minute for SmolLM3's first phase, a minute and a half for all three. Counts are cached at the ends
//! of the last ranges, so that consecutive steps cost only their own picks, and at about every millionth pick, so that going
//! back replays at most a million picks, some 30 ms. Memory is one count per source at each of these (under 1 MB for
//! SmolLM3); the original keeps the whole table, ten bytes a pick. Unlike [`crate::interleave`] it has no bound of one
//! sequence: the released mixtures deviate by up to 1.44 within their first two million picks.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::fraction::normalised;

/// An endless order of sources by largest deficit.
#[derive(Debug)]
pub struct Greedy {
    /// Padded with zeros to a multiple of `LANES`, so that the scan of a pick vectorises.
    weights: Vec<f64>,
    sources: usize,
    /// A cache: it never changes the picks, only their cost.
    known: Mutex<Known>,
}

const LANES: usize = 8;

/// Picks between two permanently cached states.
const MARK: u64 = 1 << 20;

/// Cached states at the ends of ranges. A reader that prefetches needs two, one that goes back some more.
const ENDS: usize = 16;

/// The counts before some picks, from which replay can start.
#[derive(Debug, Default)]
struct Known {
    counts: BTreeMap<u64, Vec<f64>>,
    /// The evictable ones, oldest first.
    ends: VecDeque<u64>,
    /// Picks computed so far.
    computed: u64,
}

impl Known {
    fn keep(&mut self, at: u64, counts: &[f64]) {
        if at == 0 {
            return;
        }
        self.counts.entry(at).or_insert_with(|| counts.to_vec());
        if !at.is_multiple_of(MARK) {
            self.ends.retain(|end| *end != at);
            self.ends.push_back(at);
        }
        if self.ends.len() > ENDS
            && let Some(oldest) = self.ends.pop_front()
        {
            self.counts.remove(&oldest);
        }
    }
}

impl Greedy {
    /// An order for positive finite `weights` on any scale.
    ///
    /// # Errors
    /// No weights, or a weight that is not positive and finite.
    pub fn new(weights: &[f64]) -> Result<Self> {
        let sources = weights.len();
        let mut weights = normalised(weights, numpy_sum)?;
        weights.resize(sources.next_multiple_of(LANES), 0.0);
        Ok(Self {
            weights,
            sources,
            known: Mutex::default(),
        })
    }

    /// How often each source is among the first `i` picks; as costly as [`Greedy::picks`] from there.
    pub fn counts(&self, i: u64) -> Vec<u64> {
        let picks = self.picks(i..i);
        // Counts stay below 2^53, where doubles represent every integer.
        let counts = picks.counts.iter().take(self.sources);
        counts.map(|&count| count as u64).collect()
    }

    /// Counts that no source exceeds among the first `i` picks, without replay.
    ///
    /// The deficits add up to 0 before every pick (to the 1 of `max(i, 1)` before the first), so the
    /// largest is not negative, and a source picked at `i` has `n_j ≤ w_j·max(i, 1)` before and at
    /// most one more after; one further pick covers all rounding.
    pub fn at_most(&self, i: u64) -> Vec<u64> {
        let picks = |weight: &f64| ((weight * i as f64) as u64).saturating_add(2).min(i);
        self.weights.iter().take(self.sources).map(picks).collect()
    }

    /// The picks of `range` in order: the source and how often it was picked before. Replays the
    /// picks between the last known state and the range.
    pub fn picks(&self, range: Range<u64>) -> GreedyPicks<'_> {
        let known = self.with_known(|known| {
            let (at, counts) = known.counts.range(..=range.start).next_back()?;
            Some((*at, counts.clone()))
        });
        let (at, counts) = known.unwrap_or_else(|| {
            let mut counts = vec![0.0; self.sources];
            // Padding is never in deficit.
            counts.resize(self.weights.len(), f64::INFINITY);
            (0, counts)
        });
        let mut picks = GreedyPicks {
            order: self,
            counts,
            at,
            begun: at,
            end: range.end,
        };
        while picks.at < range.start {
            picks.advance();
        }
        picks
    }

    /// Picks computed so far, including those only replayed.
    pub fn computed(&self) -> u64 {
        self.with_known(|known| known.computed)
    }

    /// The lock is held while a state is copied, never during a replay.
    fn with_known<R>(&self, work: impl FnOnce(&mut Known) -> R) -> R {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Iterator over picks: (source, number of earlier picks of that source).
#[derive(Debug)]
pub struct GreedyPicks<'a> {
    order: &'a Greedy,
    /// As doubles, since the deficit is computed in doubles.
    counts: Vec<f64>,
    at: u64,
    /// The first pick computed here.
    begun: u64,
    end: u64,
}

impl GreedyPicks<'_> {
    fn advance(&mut self) -> (usize, u64) {
        if self.at.is_multiple_of(MARK) {
            self.order.with_known(|known| known.keep(self.at, &self.counts));
        }
        let weights = &self.order.weights;
        let elapsed = self.at.max(1) as f64;
        let mut largest = [f64::NEG_INFINITY; LANES];
        for (weights, counts) in weights.as_chunks().0.iter().zip(self.counts.as_chunks().0) {
            let weights: &[f64; LANES] = weights;
            let counts: &[f64; LANES] = counts;
            for lane in 0..LANES {
                let deficit = weights[lane] * elapsed - counts[lane];
                if deficit > largest[lane] {
                    largest[lane] = deficit;
                }
            }
        }
        let largest = largest.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let deficits = weights
            .iter()
            .zip(&self.counts)
            .map(|(weight, count)| weight * elapsed - count);
        // The first that attains the maximum; computing it again gives the same bits.
        let source = deficits.take_while(|&deficit| deficit != largest).count();
        let ordinal = self.counts[source] as u64;
        self.counts[source] += 1.0;
        self.at += 1;
        (source, ordinal)
    }
}

/// Caches the state, as the next range usually starts where this one ended.
impl Drop for GreedyPicks<'_> {
    fn drop(&mut self) {
        self.order.with_known(|known| {
            known.keep(self.at, &self.counts);
            known.computed += self.at - self.begun;
        });
    }
}

impl Iterator for GreedyPicks<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.end).then(|| self.advance())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.at..self.end).size_hint()
    }
}

/// Sum with the association of numpy's `add.reduce` on contiguous doubles (pairwise summation,
/// numpy/_core/src/umath/loops_utils.h.src): one by one below 8 values, eight partial sums up to
/// 128, halves at multiples of 8 beyond.
fn numpy_sum(values: &[f64]) -> f64 {
    const BLOCK: usize = 128;
    if values.len() > BLOCK {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % LANES);
        return numpy_sum(left) + numpy_sum(right);
    }
    let mut groups = values.chunks_exact(LANES);
    let tail = groups.remainder();
    let Some(first) = groups.next() else {
        return tail.iter().fold(0.0, |sum, value| sum + value);
    };
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(first);
    for group in groups {
        for (lane, value) in lanes.iter_mut().zip(group) {
            *lane += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    tail.iter().fold(sum, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.sum(1.0 / numpy.arange(1, n + 1))` with numpy 2.4.6, as bits. From 56 values on, a sum
    /// taken one by one ends in other bits.
    #[test]
    fn sums_associate_as_numpy_does() {
        let numpy_sums: [(u32, u64); 9] = [
            (1, 0x3ff0000000000000),
            (7, 0x4004be2be2be2be2),
            (9, 0x4006a1ba1ba1ba1b),
            (41, 0x40113634247aa688),
            (56, 0x4012722505c53366),
            (128, 0x4015bb8ae9541ca7),
            (129, 0x4015c37b09149ba9),
            (300, 0x40192172a3e6965a),
            (1000, 0x401df11f45f4e61a),
        ];
        for (n, expected) in numpy_sums {
            let values: Vec<f64> = (1..=n).map(|k| 1.0 / f64::from(k)).collect();
            assert_eq!(numpy_sum(&values).to_bits(), expected, "{n} values");
        }
    }
}
