//! The two orders behind one interface.

use std::ops::Range;

use crate::error::Result;
use crate::greedy::{Greedy, GreedyPicks};
use crate::interleave::{Interleave, Picks};

/// How the sources of a phase take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Within one sequence of its share after every prefix, any step at once: [`Interleave`].
    #[default]
    Even,
    /// The original's largest deficit first, a jump to any step by replay: [`Greedy`].
    Greedy,
}

/// The order of sources within one phase.
#[derive(Debug)]
pub enum Blend {
    /// See [`Interleave`].
    Even(Interleave),
    /// See [`Greedy`].
    Greedy(Greedy),
}

impl Blend {
    /// An order for positive finite `weights` on any scale.
    ///
    /// # Errors
    /// Those of [`Interleave::new`] and [`Greedy::new`].
    pub fn new(order: Order, weights: &[f64]) -> Result<Self> {
        Ok(match order {
            Order::Even => Self::Even(Interleave::new(weights)?),
            Order::Greedy => Self::Greedy(Greedy::new(weights)?),
        })
    }

    /// How often each source is among the first `i` picks.
    pub fn counts(&self, i: u64) -> Vec<u64> {
        match self {
            Self::Even(order) => order.counts(i),
            Self::Greedy(order) => order.counts(i),
        }
    }

    /// Counts that no source exceeds among the first `i` picks, found without replay: exact for the
    /// even order, up to two too high for the greedy one.
    pub fn at_most(&self, i: u64) -> Vec<u64> {
        match self {
            Self::Even(order) => order.counts(i),
            Self::Greedy(order) => order.at_most(i),
        }
    }

    /// Picks that a greedy order has computed so far, see [`Greedy::computed`]; 0 for an even one.
    pub fn computed(&self) -> u64 {
        match self {
            Self::Even(_) => 0,
            Self::Greedy(order) => order.computed(),
        }
    }

    /// The picks of `range` in order: the source and how often it was picked before.
    pub fn picks(&self, range: Range<u64>) -> BlendPicks<'_> {
        match self {
            Self::Even(order) => BlendPicks::Even(order.picks(range)),
            Self::Greedy(order) => BlendPicks::Greedy(order.picks(range)),
        }
    }
}

/// Iterator over picks: (source, number of earlier picks of that source).
#[derive(Debug)]
pub enum BlendPicks<'a> {
    /// Of an even order.
    Even(Picks<'a>),
    /// Of a greedy order.
    Greedy(GreedyPicks<'a>),
}

impl Iterator for BlendPicks<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Even(picks) => picks.next(),
            Self::Greedy(picks) => picks.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Even(picks) => picks.size_hint(),
            Self::Greedy(picks) => picks.size_hint(),
        }
    }
}
