//! Quantities that carry their unit: `"8T"`, `"2000 steps"`, `"576 sequences"`, `"4k"`, `"10%"`.
//!
//! A bare number where a unit is needed is refused, because a batch of 576 can be meant in sequences or in
//! tokens, and the mistake would not show until the run is over. Decimals are read as integers times a power of ten, so
//! `"11.1T"` is exactly 11,100,000,000,000. Every type prints what it reads: `parse(format(x)) == x`.
//!
//! Two readings of *k* live side by side, as they do in the field: tokens count in thousands (`"500k"` is
//! 500,000 tokens), context lengths in powers of two (`"4k"` is 4,096).

mod parse;
mod serde;

use std::fmt;
use std::str::FromStr;

/// A text is not the expected quantity. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// A number of tokens. Written with a decimal multiple (`"8T"`, `"11.1T"`, `"50B"`, `"3M"`, `"500k"`) or in full
/// (`"2359296 tokens"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tokens(pub u64);

/// A number of optimizer steps: `"2000 steps"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Steps(pub u64);

/// A number of rows, each one context long: `"576 sequences"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequences(pub u64);

/// A number of pairs of answers: `"32 pairs"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pairs(pub u64);

/// The length of a row in tokens. `"4k"` is 4,096 and `"1M"` is 1,048,576; a plain integer is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextLength(pub u64);

/// An amount of text in bytes, in decimal multiples: `"20MB"`, `"512kB"`, `"800 bytes"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A fraction of a whole, from `"0%"` to `"100%"`, exact to a millionth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

/// A length of training, in tokens, in steps, or as a fraction of its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// A number of tokens.
    Tokens(Tokens),
    /// A number of steps.
    Steps(Steps),
    /// A fraction of the stage's steps.
    Percent(Percent),
}

/// The size of an optimizer step, counted in sequences or in tokens. Pairs are read as [`Pairs`] by the stages that have
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchSize {
    /// A number of rows.
    Sequences(Sequences),
    /// A number of tokens; a multiple of the sequence length.
    Tokens(Tokens),
    /// A number of pairs.
    Pairs(Pairs),
}

/// Decimal multiples of tokens and of bytes, each with its power of ten.
const DECIMAL: [(&str, u32); 4] = [("T", 12), ("B", 9), ("M", 6), ("k", 3)];
const BYTES: [(&str, u32); 4] = [("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)];
const MICRO_PERCENT: u64 = 1_000_000;

impl Percent {
    /// `whole` percent.
    ///
    /// # Errors
    /// More than 100.
    pub fn new(whole: u32) -> Result<Self, UnitError> {
        Self::from_micro(u64::from(whole) * MICRO_PERCENT)
    }

    fn from_micro(micro: u64) -> Result<Self, UnitError> {
        match u32::try_from(micro) {
            Ok(value) if micro <= 100 * MICRO_PERCENT => Ok(Self(value)),
            _ => Err(UnitError("a part cannot be more than \"100%\"".to_owned())),
        }
    }

    /// The fraction as a number from 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / (100 * MICRO_PERCENT) as f64
    }

    /// This fraction of `whole`, rounded to the nearest integer.
    pub fn of(self, whole: u64) -> u64 {
        let denominator = u128::from(100 * MICRO_PERCENT);
        let part = (u128::from(whole) * u128::from(self.0) + denominator / 2) / denominator;
        // At most `whole`, since the part is at most 100 %.
        part as u64
    }
}

impl Span {
    /// The span in steps, rounded to the nearest one.
    ///
    /// `tokens_per_step` turns tokens into steps and must not be 0; `stage_steps` is what a percentage is of.
    pub fn steps(self, tokens_per_step: u64, stage_steps: u64) -> u64 {
        match self {
            Self::Steps(Steps(steps)) => steps,
            Self::Tokens(Tokens(tokens)) => nearest(tokens, tokens_per_step),
            Self::Percent(percent) => percent.of(stage_steps),
        }
    }
}

/// `value / unit`, rounded to the nearest integer, halves up.
fn nearest(value: u64, unit: u64) -> u64 {
    value / unit + u64::from(value % unit >= unit.div_ceil(2))
}

/// `value / 10^exponent` with every digit, without trailing zeros.
fn exact_decimal(value: u64, exponent: u32) -> String {
    let unit = 10_u64.pow(exponent);
    let fraction = value % unit;
    if fraction == 0 {
        return (value / unit).to_string();
    }
    let digits = format!("{fraction:0width$}", width = exponent as usize);
    format!("{}.{}", value / unit, digits.trim_end_matches('0'))
}

fn exponent_of(unit: &str, units: &[(&str, u32)]) -> Option<u32> {
    let known = units.iter().find(|(name, _)| *name == unit);
    known.map(|(_, exponent)| *exponent)
}

/// `count` in the largest of `units` that it reaches, or else with its noun.
fn write_scaled(
    f: &mut fmt::Formatter<'_>,
    count: u64,
    units: &[(&str, u32)],
    singular: &str,
) -> fmt::Result {
    match units.iter().find(|(_, exponent)| count >= 10_u64.pow(*exponent)) {
        Some((unit, exponent)) => write!(f, "{}{unit}", exact_decimal(count, *exponent)),
        None => write_counted(f, count, singular),
    }
}

fn write_counted(f: &mut fmt::Formatter<'_>, count: u64, singular: &str) -> fmt::Result {
    write!(f, "{count} {singular}{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &DECIMAL, "token")
    }
}

/// Quantities that are written as a number and a word.
macro_rules! counted {
    ($($quantity:ident: $singular:literal),+) => {$(
        impl fmt::Display for $quantity {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_counted(f, self.0, $singular)
            }
        }

        impl FromStr for $quantity {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                parse::counted::<Self>(text, $singular).map(Self)
            }
        }
    )+};
}

counted!(Steps: "step", Sequences: "sequence", Pairs: "pair");

impl fmt::Display for ContextLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            length if length.is_multiple_of(1 << 20) => write!(f, "{}M", length >> 20),
            length if length.is_multiple_of(1 << 10) => write!(f, "{}k", length >> 10),
            length => write!(f, "{length}"),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &BYTES, "byte")
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", exact_decimal(u64::from(self.0), 6))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens(tokens) => tokens.fmt(f),
            Self::Steps(steps) => steps.fmt(f),
            Self::Percent(percent) => percent.fmt(f),
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequences(sequences) => sequences.fmt(f),
            Self::Tokens(tokens) => tokens.fmt(f),
            Self::Pairs(pairs) => pairs.fmt(f),
        }
    }
}
