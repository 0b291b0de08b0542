//! The parts of probes: facts, plain sentences between them, and questions.
//!
//! A fact gives a thing a number; a question asks for the number of a thing. Things are an adjective and a noun, numbers
//! have six digits, so that no answer can be guessed.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// How many things there are: adjectives times nouns.
pub(super) const THINGS: usize = ADJECTIVES.len() * NOUNS.len();

const ADJECTIVES: [&str; 32] = [
    "amber", "ancient", "bitter", "blue", "brave", "broken", "calm", "clever", "cold", "copper", "crooked",
    "dusty", "early", "empty", "gentle", "golden", "green", "heavy", "hollow", "honest", "narrow", "painted",
    "patient", "plain", "quiet", "rusty", "silver", "slow", "small", "velvet", "wild", "wooden",
];

const NOUNS: [&str; 32] = [
    "anchor", "apple", "basket", "bell", "bridge", "candle", "castle", "clock", "cradle", "drum", "engine",
    "feather", "garden", "harbour", "helmet", "kettle", "ladder", "lantern", "letter", "mirror", "needle",
    "orchard", "pencil", "piano", "pocket", "river", "saddle", "spoon", "tower", "violin", "wagon", "window",
];

const PLACES: [&str; 16] = [
    "attic", "bakery", "cellar", "chapel", "forest", "hallway", "kitchen", "library", "market", "meadow",
    "mill", "school", "stable", "station", "valley", "workshop",
];

const STATES: [&str; 16] = [
    "covered with snow",
    "older than the town",
    "out of sight",
    "cleaned every spring",
    "known to the children",
    "hard to find",
    "kept for visitors",
    "made by hand",
    "near the door",
    "often forgotten",
    "seldom used",
    "the first of its kind",
    "too large to move",
    "visited in summer",
    "waiting for repair",
    "well looked after",
];

/// The thing number `index`, below [`THINGS`]: an adjective and a noun.
pub(super) fn thing(index: usize) -> String {
    let adjective = ADJECTIVES[index / NOUNS.len() % ADJECTIVES.len()];
    format!("{adjective} {}", NOUNS[index % NOUNS.len()])
}

/// `count` different things.
pub(super) fn things(count: usize, rng: &mut impl Rng) -> Vec<String> {
    rand::seq::index::sample(rng, THINGS, count.min(THINGS))
        .into_iter()
        .map(thing)
        .collect()
}

/// Six digits, the first not 0.
pub(super) fn number(rng: &mut impl Rng) -> String {
    rng.random_range(100_000..1_000_000u32).to_string()
}

/// The fact that gives a thing its number.
pub(super) fn fact(thing: &str, number: &str) -> String {
    format!("The number of the {thing} is {number}.")
}

/// The question for it, up to the answer.
pub(super) fn question(thing: &str) -> String {
    format!("Question: What is the number of the {thing}?\nAnswer: The number of the {thing} is")
}

/// A sentence that is no fact.
pub(super) fn plain_sentence(rng: &mut impl Rng) -> String {
    let noun = NOUNS.choose(rng).unwrap_or(&NOUNS[0]);
    let place = PLACES.choose(rng).unwrap_or(&PLACES[0]);
    let state = STATES.choose(rng).unwrap_or(&STATES[0]);
    format!("The {noun} in the {place} is {state}.")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn things_are_all_different() {
        let all: BTreeSet<String> = (0..THINGS).map(thing).collect();
        assert_eq!(all.len(), THINGS);
    }
}
