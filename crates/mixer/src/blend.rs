//! The two orders of sources behind one interface.

use std::ops::Range;

use either::Either;

use crate::error::Result;
use crate::greedy::{Greedy, GreedyPicks};
use crate::interleave::{Interleave, Picks};

/// How the sources of a phase take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Each source within one sequence of its share after every prefix, any step directly: [`Interleave`].
    #[default]
    Even,
    /// Largest deficit first, as in the original; a jump to a step replays: [`Greedy`].
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

    /// Upper bounds of the counts among the first `i` picks, without replay: exact for the even order, up to two too high for
    /// the greedy one.
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
            Self::Even(order) => Either::Left(order.picks(range)),
            Self::Greedy(order) => Either::Right(order.picks(range)),
        }
    }
}

/// Iterator over picks: (source, number of earlier picks of that source).
pub type BlendPicks<'a> = Either<Picks<'a>, GreedyPicks<'a>>;
