//! Arithmetic and word problems with worked steps, from a seeded generator.
//!
//! A source of mathematics for small models: it needs no download, never runs out, its answers are correct by
//! construction, and a model of a few million parameters visibly learns it. Every equation is true, which the tests check
//! on many thousands of lines.
//!
//! Document `i` is a function of the seed and `i` alone (its own stream of ChaCha8), so any thread can make any document in
//! microseconds. A document is a few problems of one level, from one-digit to four-digit numbers, easy levels more often.

mod columns;
mod stories;
mod thinking;

use std::borrow::Cow;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{DocumentSource, no_document};
use crate::error::Result;
use crate::store::Fingerprint;

/// Raised when the same seed would give other texts.
const VERSION: u32 = 1;

/// A document ends with the first problem that takes it past a length drawn from here.
const BYTES: std::ops::RangeInclusive<usize> = 200..=600;

/// The generator as a source of documents.
#[derive(Debug, Clone, Copy)]
pub struct Arithmetic {
    seed: u64,
    documents: u64,
}

/// One problem: its text, which ends in the answer, and the answer by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Question, steps, and a last line `Answer: …`.
    pub text: String,
    /// What follows `Answer: `.
    pub answer: String,
}

/// The kinds of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Column addition with carries.
    Addition,
    /// Column subtraction with borrowing.
    Subtraction,
    /// Multiplication by splitting one factor into places.
    Multiplication,
    /// Division with remainder, checked by multiplying back.
    Division,
    /// People, things, and what happens to them.
    Story,
    /// The next number of a sequence.
    Sequence,
    /// Which of two numbers is larger, place by place.
    Comparison,
    /// A linear equation with one unknown.
    Equation,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 8] = [
        Kind::Addition,
        Kind::Subtraction,
        Kind::Multiplication,
        Kind::Division,
        Kind::Story,
        Kind::Sequence,
        Kind::Comparison,
        Kind::Equation,
    ];
}

/// How large numbers are: from one digit to four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Up to 10.
    First,
    /// Up to 100.
    Second,
    /// Up to 1,000.
    Third,
    /// Up to 10,000.
    Fourth,
}

impl Level {
    /// All levels, easiest first.
    pub const ALL: [Level; 4] = [Level::First, Level::Second, Level::Third, Level::Fourth];

    /// Numbers of this level are below it.
    fn bound(self) -> u64 {
        10u64.pow(self as u32 + 1)
    }

    /// Any number of this level.
    fn number(self, rng: &mut impl Rng) -> u64 {
        rng.random_range(0..self.bound())
    }

    /// Any number of this level but 0.
    fn positive(self, rng: &mut impl Rng) -> u64 {
        rng.random_range(1..self.bound())
    }
}

impl Arithmetic {
    /// `documents` documents for `seed`.
    pub fn new(seed: u64, documents: u64) -> Self {
        Arithmetic { seed, documents }
    }

    /// The text of document `index`, whatever the number of documents.
    pub fn text(&self, index: u64) -> String {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(index);
        // Weights 4 : 3 : 2 : 1, so that a small model sees most of what it can learn first.
        let level = match rng.random_range(0..10) {
            0..4 => Level::First,
            4..7 => Level::Second,
            7..9 => Level::Third,
            _ => Level::Fourth,
        };
        let bytes = rng.random_range(BYTES);
        let mut text = String::new();
        while text.len() < bytes {
            if !text.is_empty() {
                text.push('\n');
            }
            let kind = pick(&mut rng, &Kind::ALL);
            text.push_str(&problem(kind, level, &mut rng).text);
        }
        text
    }
}

/// One problem of a kind and level.
pub fn problem(kind: Kind, level: Level, rng: &mut impl Rng) -> Problem {
    let (question, steps, answer) = match kind {
        Kind::Addition => columns::addition(level, rng),
        Kind::Subtraction => columns::subtraction(level, rng),
        Kind::Multiplication => columns::multiplication(level, rng),
        Kind::Division => columns::division(level, rng),
        Kind::Story => stories::story(level, rng),
        Kind::Sequence => thinking::sequence(level, rng),
        Kind::Comparison => thinking::comparison(level, rng),
        Kind::Equation => thinking::equation(level, rng),
    };
    let text = format!("{question}\n{}\nAnswer: {answer}\n", steps.join("\n"));
    Problem { text, answer }
}

/// Question, steps, answer.
type Worked = (String, Vec<String>, String);

/// Numbers with a separator between them.
fn joined(numbers: &[u64], separator: &str) -> String {
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    texts.join(separator)
}

/// One of a fixed, non-empty list.
fn pick<T: Copy, const N: usize>(rng: &mut impl Rng, of: &[T; N]) -> T {
    const { assert!(N > 0) };
    *of.choose(rng).unwrap_or(&of[0])
}

impl DocumentSource for Arithmetic {
    fn name(&self) -> &str {
        "arithmetic"
    }

    fn documents(&self) -> u64 {
        self.documents
    }

    fn document(&self, index: u64) -> Result<Cow<'_, str>> {
        if index >= self.documents {
            return Err(no_document(self, index));
        }
        Ok(Cow::Owned(self.text(index)))
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"arithmetic").update(&VERSION.to_le_bytes());
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&self.documents.to_le_bytes());
        Fingerprint::from_hash(hasher.finalize())
    }
}
