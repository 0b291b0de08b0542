//! Whether all ranks were started with the same things.
//!
//! All ranks gather the named fingerprints of all and reach the same result: what most ranks have is right, what others have is
//! odd. In a tie the lowest rank is right.

use crate::{Collective, CollectiveError, Disagreement, Odd, Result};

/// Compares named fingerprints over all ranks.
///
/// # Errors
/// [`Disagreement`], the same on all ranks, so each can [`finish`](Collective::finish) before it says so; a rank that
/// is late or gone.
pub fn agree<C: Collective + ?Sized>(ranks: &C, items: &[(&str, String)]) -> Result<()> {
    let encoded = serde_json::to_vec(items).map_err(|error| unreadable(ranks, ranks.rank(), &error))?;
    let mut of_ranks: Vec<Vec<(String, String)>> = Vec::with_capacity(ranks.world());
    for (rank, bytes) in ranks.all_gather_bytes(&encoded)?.iter().enumerate() {
        of_ranks.push(serde_json::from_slice(bytes).map_err(|error| unreadable(ranks, rank, &error))?);
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in of_ranks.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut odd = Vec::new();
    for name in names {
        let values: Vec<Option<&str>> = of_ranks.iter().map(|items| value(items, name)).collect();
        let most_have = most(&values);
        for (rank, &has) in values.iter().enumerate().filter(|&(_, &has)| has != most_have) {
            odd.push(Odd {
                rank,
                place: ranks.place(rank),
                item: name.to_owned(),
                has: has.map(str::to_owned),
                most_have: most_have.map(str::to_owned),
            });
        }
    }
    if odd.is_empty() {
        return Ok(());
    }
    Err(Disagreement {
        odd,
        world: ranks.world(),
    }
    .into())
}

fn value<'a>(items: &'a [(String, String)], name: &str) -> Option<&'a str> {
    items
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.as_str())
}

/// The most frequent value, the first of those that are equally frequent.
fn most<'a>(values: &[Option<&'a str>]) -> Option<&'a str> {
    let count = |value| values.iter().filter(|&&other| other == value).count();
    // `max_by_key` takes the last of equals.
    values
        .iter()
        .rev()
        .copied()
        .max_by_key(|&value| count(value))
        .flatten()
}

fn unreadable<C: Collective + ?Sized>(ranks: &C, rank: usize, error: &serde_json::Error) -> CollectiveError {
    CollectiveError::Unreadable {
        rank,
        place: ranks.place(rank),
        problem: error.to_string(),
    }
}
