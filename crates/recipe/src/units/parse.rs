//! Quantities from text.

use std::fmt;
use std::str::FromStr;

use super::{
    BatchSize, Bytes, ContextLength, DECIMAL, Pairs, Percent, Sequences, Span, Steps, Tokens, UnitError,
};

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
pub(super) fn counted<Q: Quantity>(text: &str, singular: &str) -> Result<u64, UnitError> {
    let (number, unit) = split_unit(text);
    if unit.is_empty() {
        return Err(Q::refuse(text, "has no unit"));
    }
    if unit.strip_suffix('s').unwrap_or(unit) != singular {
        return Err(Q::refuse(text, "has an unknown unit"));
    }
    scaled_decimal(number, 0).map_err(|reason| Q::refuse(text, reason))
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
        if value == 0 {
            return Err(Self::refuse(text, "is too short, a row cannot have 0 tokens"));
        }
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
