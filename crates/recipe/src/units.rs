//! Quantities that carry their unit: `"8T"`, `"2000 steps"`, `"576 sequences"`, `"4k"`, `"10%"`.
//!
//! A bare number where a unit is needed is refused, because a batch of 576 can be meant in sequences or in
//! tokens and nobody sees which until the run is over. Decimals are read as integers times a power of ten, so
//! `"11.1T"` is exactly 11,100,000,000,000. Every type prints what it reads: `parse(format(x)) == x`.
//!
//! Two readings of *k* live side by side, as they do in the field: tokens count in thousands (`"500k"` is
//! 500,000 tokens), context lengths in powers of two (`"4k"` is 4,096).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text is not the quantity that was wanted. The message says what to write instead.
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

/// The length of a row in tokens. `"4k"` is 4,096 and `"1M"` is 1,048,576; a plain integer is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextLength(pub u64);

/// An amount of text in bytes, in decimal multiples: `"20MB"`, `"512kB"`, `"800 bytes"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A part of a whole, from `"0%"` to `"100%"`, exact to a millionth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

/// A stretch of training, in tokens, in steps, or as a part of its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// So many tokens.
    Tokens(Tokens),
    /// So many steps.
    Steps(Steps),
    /// This part of the stage's steps.
    Percent(Percent),
}

/// The sequences that make one optimizer step, counted in sequences or in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchSize {
    /// So many rows.
    Sequences(Sequences),
    /// So many tokens; a multiple of the sequence length.
    Tokens(Tokens),
}

const DECIMAL: [(&str, u32); 4] = [("T", 12), ("B", 9), ("M", 6), ("k", 3)];
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

    /// The part as a number from 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / (100 * MICRO_PERCENT) as f64
    }

    /// This part of `whole`, rounded to the nearest integer.
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

/// `text` as an integer: a decimal number times `10^exponent`, or why it is none.
fn scaled_decimal(text: &str, exponent: u32) -> Result<u64, &'static str> {
    const MALFORMED: &str = "is not a number";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| -> Result<String, &'static str> {
        let plain = part.replace('_', "");
        let well_placed = !part.starts_with('_') && !part.ends_with('_');
        if !plain.is_empty() && well_placed && plain.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(plain)
        } else {
            Err(MALFORMED)
        }
    };
    let (whole, fraction) = (digits(whole)?, digits(fraction)?);
    let fraction = fraction.trim_end_matches('0');
    let missing = (exponent as usize)
        .checked_sub(fraction.len())
        .ok_or("is not a whole number of them")?;
    format!("{whole}{fraction}{}", "0".repeat(missing))
        .parse()
        .map_err(|_| "is more than can be counted (2^64)")
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

/// Splits `"11.1T"` or `"2000 steps"` into the number and what follows it.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// A quantity that is written as a string with a unit.
trait Quantity: FromStr<Err = UnitError> + fmt::Display {
    /// What it is, as an error names it.
    const NAME: &'static str;
    /// How it is written.
    const EXAMPLE: &'static str;
    /// Whether a bare integer may stand for it.
    const BARE: bool = false;

    fn refuse(text: &str, reason: &str) -> UnitError {
        UnitError(format!(
            "\"{text}\" {reason}; write {} as {}",
            Self::NAME,
            Self::EXAMPLE
        ))
    }
}

impl Quantity for Tokens {
    const NAME: &'static str = "tokens";
    const EXAMPLE: &'static str = "\"8T\", \"50B\", \"3M\", \"500k\" or \"2359296 tokens\"";
}
impl Quantity for Steps {
    const NAME: &'static str = "steps";
    const EXAMPLE: &'static str = "\"2000 steps\"";
}
impl Quantity for Sequences {
    const NAME: &'static str = "sequences";
    const EXAMPLE: &'static str = "\"576 sequences\"";
}
impl Quantity for ContextLength {
    const NAME: &'static str = "a context length";
    const EXAMPLE: &'static str = "\"4k\" (4,096), \"64k\" (65,536) or a plain integer";
    const BARE: bool = true;
}
impl Quantity for Bytes {
    const NAME: &'static str = "an amount of text";
    const EXAMPLE: &'static str = "\"20MB\", \"512kB\" or \"800 bytes\"";
}
impl Quantity for Percent {
    const NAME: &'static str = "a part";
    const EXAMPLE: &'static str = "\"10%\"";
}
impl Quantity for Span {
    const NAME: &'static str = "a length";
    const EXAMPLE: &'static str = "\"2000 steps\", \"50B\" (tokens) or \"10%\" (of the stage)";
}
impl Quantity for BatchSize {
    const NAME: &'static str = "a batch";
    const EXAMPLE: &'static str = "\"576 sequences\" or \"2359296 tokens\"";
}

impl FromStr for Tokens {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_unit(text);
        let multiple = unit
            .strip_suffix("tokens")
            .or_else(|| unit.strip_suffix("token"))
            .map(str::trim_end);
        let exponent = match multiple.unwrap_or(unit) {
            "" if multiple.is_some() => Some(0),
            "" => return Err(Self::refuse(text, "has no unit")),
            suffix => DECIMAL
                .iter()
                .find(|(name, _)| *name == suffix)
                .map(|(_, exponent)| *exponent),
        };
        let exponent = exponent.ok_or_else(|| Self::refuse(text, "has an unknown unit"))?;
        scaled_decimal(number, exponent)
            .map(Self)
            .map_err(|reason| Self::refuse(text, reason))
    }
}

/// Parses `"12 things"` or `"1 thing"`.
fn counted<Q: Quantity>(text: &str, plural: &str) -> Result<u64, UnitError> {
    let (number, unit) = split_unit(text);
    let singular = plural.strip_suffix('s').unwrap_or(plural);
    if unit.is_empty() {
        return Err(Q::refuse(text, "has no unit"));
    }
    if unit != plural && unit != singular {
        return Err(Q::refuse(text, "has an unknown unit"));
    }
    scaled_decimal(number, 0).map_err(|reason| Q::refuse(text, reason))
}

impl FromStr for Steps {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        counted::<Self>(text, "steps").map(Self)
    }
}

impl FromStr for Sequences {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        counted::<Self>(text, "sequences").map(Self)
    }
}

impl FromStr for ContextLength {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_unit(text);
        let unit = unit.strip_suffix("tokens").unwrap_or(unit).trim_end();
        let shift = match unit {
            "" => 0,
            "k" => 10,
            "M" => 20,
            _ => return Err(Self::refuse(text, "has an unknown unit")),
        };
        let value = scaled_decimal(number, 0).map_err(|reason| Self::refuse(text, reason))?;
        value
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(|| Self::refuse(text, "is more than can be counted (2^64)"))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_unit(text);
        let exponent = match unit {
            "bytes" | "byte" => 0,
            "kB" => 3,
            "MB" => 6,
            "GB" => 9,
            "TB" => 12,
            "" => return Err(Self::refuse(text, "has no unit")),
            _ => return Err(Self::refuse(text, "has an unknown unit")),
        };
        scaled_decimal(number, exponent)
            .map(Self)
            .map_err(|reason| Self::refuse(text, reason))
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match split_unit(text) {
            (number, "%") => scaled_decimal(number, 6)
                .map_err(|reason| Self::refuse(text, reason))
                .and_then(Self::from_micro),
            (_, "") => Err(Self::refuse(text, "has no unit")),
            _ => Err(Self::refuse(text, "has an unknown unit")),
        }
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match split_unit(text).1 {
            "" => Err(Self::refuse(text, "has no unit")),
            "%" => text.parse().map(Self::Percent),
            "step" | "steps" => text.parse().map(Self::Steps),
            _ => text
                .parse()
                .map(Self::Tokens)
                .map_err(|_| Self::refuse(text, "is no length")),
        }
    }
}

impl FromStr for BatchSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match split_unit(text).1 {
            "" => Err(Self::refuse(text, "has no unit")),
            "sequence" | "sequences" => text.parse().map(Self::Sequences),
            _ => text
                .parse()
                .map(Self::Tokens)
                .map_err(|_| Self::refuse(text, "is no batch")),
        }
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DECIMAL
            .iter()
            .find(|(_, exponent)| self.0 >= 10_u64.pow(*exponent))
        {
            Some((unit, exponent)) => write!(f, "{}{unit}", exact_decimal(self.0, *exponent)),
            None => write_counted(f, self.0, "token"),
        }
    }
}

fn write_counted(f: &mut fmt::Formatter<'_>, count: u64, singular: &str) -> fmt::Result {
    write!(f, "{count} {singular}{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_counted(f, self.0, "step")
    }
}

impl fmt::Display for Sequences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_counted(f, self.0, "sequence")
    }
}

impl fmt::Display for ContextLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "0"),
            length if length.is_multiple_of(1 << 20) => write!(f, "{}M", length >> 20),
            length if length.is_multiple_of(1 << 10) => write!(f, "{}k", length >> 10),
            length => write!(f, "{length}"),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)];
        match units.iter().find(|(_, exponent)| self.0 >= 10_u64.pow(*exponent)) {
            Some((unit, exponent)) => write!(f, "{}{unit}", exact_decimal(self.0, *exponent)),
            None => write_counted(f, self.0, "byte"),
        }
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
        }
    }
}

/// Reads a [`Quantity`] from a string, and refuses a bare number with the way to write it.
struct QuantityVisitor<Q>(PhantomData<Q>);

impl<Q: Quantity> de::Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, written as {}", Q::NAME, Q::EXAMPLE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Q, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Q, E> {
        let text = number.to_string();
        if Q::BARE {
            text.parse().map_err(E::custom)
        } else {
            Err(E::custom(Q::refuse(&text, "has no unit")))
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Q, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::custom(Q::refuse(&number.to_string(), "is out of range"))),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Q, E> {
        Err(E::custom(Q::refuse(&number.to_string(), "has no unit")))
    }
}

macro_rules! as_string {
    ($($quantity:ty),+) => {$(
        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(QuantityVisitor(PhantomData))
            }
        }
        impl Serialize for $quantity {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

as_string!(
    Tokens,
    Steps,
    Sequences,
    ContextLength,
    Bytes,
    Percent,
    Span,
    BatchSize
);
