//! Which rank owns which elements of the parameters.
//!
//! All parameters are one flat space, one after another in a given order, and each rank owns one range of it. A
//! boundary may lie inside a parameter: a division along parameters would leave ranks unequal by the largest of them,
//! which for a model of 3 billion parameters is an embedding of 263 million. Everything here follows from lengths
//! alone, so a state that was saved by N ranks is read by M.

use std::collections::HashSet;
use std::ops::Range;

/// A flat space divided among ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shards {
    /// Where each shard begins, and where the last ends.
    bounds: Vec<usize>,
}

/// A part of a parameter that lies in a range of the flat space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// Which of its elements.
    pub elements: Range<usize>,
    /// Where they lie, counted from the beginning of the range.
    pub at: usize,
}

impl Shards {
    /// Divides `total` elements among `world` ranks, all shards equally long but where the end comes first. Their length is
    /// a multiple of `alignment`; with few elements some are empty. A world or alignment of 0 counts as 1.
    pub fn new(total: usize, world: usize, alignment: usize) -> Self {
        let length = total.div_ceil(world.max(1)).next_multiple_of(alignment.max(1));
        Self {
            bounds: (0..=world.max(1))
                .map(|rank| rank.saturating_mul(length).min(total))
                .collect(),
        }
    }

    /// Shards of these lengths, one after another.
    pub fn from_counts(counts: &[usize]) -> Self {
        let ends = counts.iter().scan(0, |end, count| {
            *end = usize::saturating_add(*end, *count);
            Some(*end)
        });
        Self {
            bounds: [0].into_iter().chain(ends).collect(),
        }
    }

    /// How many ranks there are.
    pub fn world(&self) -> usize {
        self.bounds.len() - 1
    }

    /// How many elements there are.
    pub fn total(&self) -> usize {
        self.bounds.last().copied().unwrap_or(0)
    }

    /// What a rank owns; nothing for one that is not there.
    pub fn range(&self, rank: usize) -> Range<usize> {
        match self.bounds.get(rank..rank.saturating_add(2)) {
            Some(&[begin, end]) => begin..end,
            _ => 0..0,
        }
    }

    /// The ranges of all ranks.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.bounds.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// How many elements each rank owns.
    pub fn counts(&self) -> Vec<usize> {
        self.ranges().map(|range| range.len()).collect()
    }

    /// Length of the longest shard, the first.
    pub fn longest(&self) -> usize {
        self.range(0).len()
    }
}

/// Where named parameters lie in the flat space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    parameters: Vec<(String, Range<usize>)>,
}

/// Parameters that do not make a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A name that occurs twice.
    #[error("two parameters are called \"{name}\"; names must be unique")]
    Twice {
        /// The name.
        name: String,
    },
    /// More elements than can be counted.
    #[error("the parameters up to \"{name}\" have more elements than this machine can address")]
    TooMany {
        /// The first that is too many.
        name: String,
    },
}

impl Layout {
    /// Parameters by name and number of elements, one after another. The order is the caller's, and has to be
    /// the same on all ranks.
    ///
    /// # Errors
    /// A name that occurs twice, or lengths that sum to more than `usize` holds.
    pub fn new(parameters: impl IntoIterator<Item = (String, usize)>) -> Result<Self, LayoutError> {
        let mut names = HashSet::new();
        let mut end = 0usize;
        let mut placed = Vec::new();
        for (name, length) in parameters {
            if !names.insert(name.clone()) {
                return Err(LayoutError::Twice { name });
            }
            let begin = end;
            let Some(sum) = begin.checked_add(length) else {
                return Err(LayoutError::TooMany { name });
            };
            end = sum;
            placed.push((name, begin..end));
        }
        Ok(Self { parameters: placed })
    }

    /// How many elements there are.
    pub fn total(&self) -> usize {
        self.parameters.last().map_or(0, |(_, range)| range.end)
    }

    /// The parameters and where they lie, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.parameters
            .iter()
            .map(|(name, range)| (name.as_str(), range.clone()))
    }

    /// The parts of parameters that lie in a range of the flat space, in their order.
    pub fn pieces(&self, range: &Range<usize>) -> Vec<Piece<'_>> {
        let first = self
            .parameters
            .partition_point(|(_, parameter)| parameter.end <= range.start);
        self.parameters[first..]
            .iter()
            .take_while(|(_, parameter)| parameter.start < range.end)
            .filter_map(|(name, parameter)| {
                let both = overlap(parameter, range);
                (!both.is_empty()).then(|| Piece {
                    name,
                    elements: both.start - parameter.start..both.end - parameter.start,
                    at: both.start - range.start,
                })
            })
            .collect()
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let begin = a.start.max(b.start);
    begin..a.end.min(b.end).max(begin)
}
