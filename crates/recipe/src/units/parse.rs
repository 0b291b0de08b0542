//! Quantities from text.

use std::fmt;
use std::str::FromStr;

use super::{
    BYTES, BatchSize, Bytes, ContextLength, DECIMAL, Pairs, Percent, Sequences, Span, Steps, Tokens,
    UnitError, exponent_of,
};

/// `text` as an integer: a decimal number times `10^exponent`, or why it is none.
fn scaled_decimal(text: &str, exponent: u32) -> Result<u64, &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| {
        let plain = part.replace('_', "");
        let well_placed = !part.starts_with('_') && !part.ends_with('_');
        match !plain.is_empty() && well_placed && plain.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ok(plain),
            false => Err("is not a number"),
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
pub(super) trait Quantity: FromStr<Err = UnitError> + fmt::Display {
    /// Its name in errors.
    const NAME: &'static str;
    /// How it is written.
    const EXAMPLE: &'static str;
    /// Whether a bare integer may stand for it.
    const BARE: bool = false;

    fn refuse(text: &str, reason: &str) -> UnitError {
        let (name, example) = (Self::NAME, Self::EXAMPLE);
        UnitError(format!("\"{text}\" {reason}; write {name} as {example}"))
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
impl Quantity for Pairs {
    const NAME: &'static str = "pairs";
    const EXAMPLE: &'static str = "\"32 pairs\"";
}
impl Quantity for ContextLength {
    const NAME: &'static str = "a context length";
    const EXAMPLE: &'static str = "\"4k\" (4,096), \"64k\" (65,536) or a plain integer";
    const BARE: bool = true;
}
impl Quantity for Bytes {
    const NAME: &'static str = "a size";
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

/// `number` times `10^exponent` as the quantity `Q`; `None` is an unknown unit.
fn scaled<Q: Quantity>(text: &str, number: &str, exponent: Option<u32>) -> Result<u64, UnitError> {
    let exponent = exponent.ok_or_else(|| Q::refuse(text, "has an unknown unit"))?;
    scaled_decimal(number, exponent).map_err(|reason| Q::refuse(text, reason))
}

/// The number and the unit of `text`, which must have one.
fn with_unit<Q: Quantity>(text: &str) -> Result<(&str, &str), UnitError> {
    match split_unit(text) {
        (_, "") => Err(Q::refuse(text, "has no unit")),
        parts => Ok(parts),
    }
}

impl FromStr for Tokens {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = with_unit::<Self>(text)?;
        let word = unit.strip_suffix("tokens").or_else(|| unit.strip_suffix("token"));
        let exponent = match word.map(str::trim_end) {
            Some("") => Some(0),
            multiple => exponent_of(multiple.unwrap_or(unit), &DECIMAL),
        };
        scaled::<Self>(text, number, exponent).map(Self)
    }
}

/// Parses `"12 things"` or `"1 thing"`.
pub(super) fn counted<Q: Quantity>(text: &str, singular: &str) -> Result<u64, UnitError> {
    let (number, unit) = with_unit::<Q>(text)?;
    let is_known = unit.strip_suffix('s').unwrap_or(unit) == singular;
    scaled::<Q>(text, number, is_known.then_some(0))
}

impl FromStr for ContextLength {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_unit(text);
        let shift = match unit.strip_suffix("tokens").unwrap_or(unit).trim_end() {
            "" => 0,
            "k" => 10,
            "M" => 20,
            _ => return Err(Self::refuse(text, "has an unknown unit")),
        };
        let value = scaled::<Self>(text, number, Some(0))?;
        if value == 0 {
            return Err(Self::refuse(text, "is too short, a row cannot have 0 tokens"));
        }
        let length = value.checked_mul(1 << shift).map(Self);
        length.ok_or_else(|| Self::refuse(text, "is more than can be counted (2^64)"))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = with_unit::<Self>(text)?;
        let exponent = match unit {
            "bytes" | "byte" => Some(0),
            multiple => exponent_of(multiple, &BYTES),
        };
        scaled::<Self>(text, number, exponent).map(Self)
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = with_unit::<Self>(text)?;
        scaled::<Self>(text, number, (unit == "%").then_some(6)).and_then(Self::from_micro)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match with_unit::<Self>(text)?.1 {
            "%" => text.parse().map(Self::Percent),
            "step" | "steps" => text.parse().map(Self::Steps),
            _ => match text.parse() {
                Ok(tokens) => Ok(Self::Tokens(tokens)),
                Err(_) => Err(Self::refuse(text, "is not a length")),
            },
        }
    }
}

impl FromStr for BatchSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match with_unit::<Self>(text)?.1 {
            "sequence" | "sequences" => text.parse().map(Self::Sequences),
            _ => match text.parse() {
                Ok(tokens) => Ok(Self::Tokens(tokens)),
                Err(_) => Err(Self::refuse(text, "is not a batch")),
            },
        }
    }
}
