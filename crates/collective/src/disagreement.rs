//! Ranks that were started with something else than the others.

use std::fmt;

/// A rank that has something else than most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The rank.
    pub rank: usize,
    /// Where it runs.
    pub place: String,
    /// What differs.
    pub item: String,
    /// What it has, `None` if it does not know of the item.
    pub has: Option<String>,
    /// What most ranks have.
    pub most_have: Option<String>,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rank, place, item, ..
        } = self;
        let [has, most_have] = [&self.has, &self.most_have].map(|value| value.as_deref().unwrap_or("none"));
        write!(
            f,
            "rank {rank} ({place}) has {item} {has} where most have {most_have}"
        )
    }
}

/// Ranks that were started with something else than most, by item and rank.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {world} ranks were not started with the same things: {}; start all ranks from the same program and files",
    .odd.iter().map(Odd::to_string).collect::<Vec<_>>().join("; ")
)]
pub struct Disagreement {
    /// At least one.
    pub odd: Vec<Odd>,
    /// How many ranks there are.
    pub world: usize,
}
