//! What ranks were started with that others were not.

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

/// Ranks that were started with something else than most, by item and rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// At least one.
    pub odd: Vec<Odd>,
    /// How many ranks there are.
    pub world: usize,
}

impl std::error::Error for Disagreement {}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        write!(
            f,
            "the {} ranks were not started with the same things: ",
            self.world
        )?;
        for odd in &self.odd {
            let Odd {
                rank,
                place,
                item,
                has,
                most_have,
            } = odd;
            let (has, most_have) = (or_none(has), or_none(most_have));
            write!(
                f,
                "rank {rank} ({place}) has {item} {has} where most have {most_have}; "
            )?;
        }
        write!(f, "start all ranks from the same program and files")
    }
}
