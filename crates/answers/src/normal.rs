//! Answers in one spelling, so that equal ones are equal strings: `$1,234.50`, `1234.5` and `\frac{2469}{2}`.
//!
//! The rules of the graders of MATH and GSM8K (`hendrycks_math.py` and `minerva_math/utils.py` of lm-evaluation-harness:
//! layout, units and thousands separators are removed, fractions and roots get their braces), and one more: decimal numbers
//! and fractions of integers become one exact reduced fraction. `0.333` is not `1/3`. There is no algebra: `x+1` and `1+x`
//! differ.

use std::sync::LazyLock;

use regex::{Captures, Regex, Replacer};

/// Layout and signs that do not affect the value.
static LAYOUT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        // The end of a row of a matrix stays.
        r"(\\\\)|\\(?:left|right|displaystyle|quad|qquad|cdotp|degree)\b",
        r"|\\[!,;: $()\[\]]|\\?%|\$|~|\*\*",
        r"|\^\s*\{?\s*\\circ\b\s*\}?|°",
    ))
    .ok()
});
/// Words in math; behind a number, the power of the unit too: `5\text{ cm}^2`.
pub(crate) static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}(\^\{?\d\}?)?",
    )
    .ok()
});
/// A number before the name of a unit that answers of MATH and GSM8K have.
static UNIT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)^\s*([-+−]?\s*\\?\$?\s*(?:\d[\d,]*(?:\.\d+)?|\.\d+))\s*",
        r"(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:dollars?|cents?|percent|inch(?:es)?|f(?:ee|oo)?t|yards?|miles?|mph|",
        r"[kcm]?m|km/h|m/s|meters?|metres?|centimeters?|kilometers?|units?|points?|degrees?|hours?|minutes?|seconds?|",
        r"days?|weeks?|months?|years?|k?g|grams?|kilograms?|pounds?|ounces?|lit(?:er|re)s?|ways?|students?|people|",
        r"digits|integers|edges|meals)(?:\s*\^\s*\{?[23]\}?)?\s*\.?\s*$",
    ))
    .ok()
});
/// `a/b` of anything but integers, which are reduced.
static SLASH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^([-+]?)((?:\\?[A-Za-z]+|\d+|\\sqrt\{[^{}]*\})+)/(\d+|[a-z]|\\sqrt\{[^{}]*\})$").ok()
});
static FRACTION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\\[dtc]frac\b").ok());
/// `\frac12`, `\frac1{2}`, `\frac{1}2`.
static BARE_FRACTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\\frac(\{[^{}]*\}|\d)(\{[^{}]*\}|\d)").ok());
/// `\leq` and the like: two names of one sign.
static RELATION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(\\(?:le|ge|ne))q\b").ok());
/// `x^{2}` and `a_{1}` with one sign in the braces.
static BRACED_SIGN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"([\^_])\{(\w)\}").ok());
static BARE_ROOT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\\sqrt(\d)").ok());
static EQUALS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[A-Za-z](?:_\{?\w\}?|\([a-z]\))?(?:=|\\in(?:\b|\\))(.+)$").ok());
static THOUSANDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?$").ok());
static DECIMAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^([-+]?)(\d*)(?:\.(\d*))?$").ok());
static RATIO: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^([-+]?)(?:\\frac\{([-+]?\d+)\}\{([-+]?\d+)\}|([-+]?\d+)/([-+]?\d+))$").ok()
});

/// Digits that an exact fraction may have.
const DIGITS: usize = 30;

/// An answer in its canonical spelling, for comparison.
pub fn normalise(answer: &str) -> String {
    let mut text = answer.to_owned();
    // Rules may enable each other; each shortens the text or adds the braces of a fraction once.
    for _ in 0..16 {
        let next = once(&text);
        if next == text {
            break;
        }
        text = next;
    }
    text
}

fn once(answer: &str) -> String {
    let answer = captured(&UNIT, answer, 1).unwrap_or(answer);
    let mut text = replaced(&WORDS, answer, |words: &Captures<'_>| {
        let before = words.get(0).and_then(|all| answer.get(..all.start()));
        let before = before.unwrap_or_default().trim_end();
        // After a number it is a unit.
        match before.ends_with(|c: char| c.is_ascii_digit() || c == '}') {
            true => String::new(),
            false => format!("{}{}", group(words, 1), group(words, 2)),
        }
    });
    text = replaced(&LAYOUT, &text, "$1");
    text = text.replace("{,}", ",").replace('−', "-");
    text = replaced(&RELATION, &text, "$1");
    text = replaced(&BRACED_SIGN, &text, "$1$2");
    text = replaced(&FRACTION, &text, r"\frac");
    let braced = |part: &str| match part.starts_with('{') {
        true => part.to_owned(),
        false => format!("{{{part}}}"),
    };
    text = replaced(&BARE_FRACTION, &text, |parts: &Captures<'_>| {
        format!(r"\frac{}{}", braced(group(parts, 1)), braced(group(parts, 2)))
    });
    text = replaced(&BARE_ROOT, &text, r"\sqrt{$1}");
    text.retain(|letter| !letter.is_whitespace());
    let text = text.trim_end_matches('.');
    let text = captured(&EQUALS, text, 1).unwrap_or(text);
    let text = match THOUSANDS.as_ref().is_some_and(|pattern| pattern.is_match(text)) {
        true => text.replace(',', ""),
        false => text.to_owned(),
    };
    number(&text).unwrap_or_else(|| replaced(&SLASH, &text, r"$1\frac{$2}{$3}"))
}

pub(crate) fn replaced(pattern: &Option<Regex>, text: &str, by: impl Replacer) -> String {
    match pattern {
        Some(pattern) => pattern.replace_all(text, by).into_owned(),
        None => text.to_owned(),
    }
}

/// The text of a group; empty if it matched nothing.
fn group<'t>(captures: &Captures<'t>, index: usize) -> &'t str {
    captures.get(index).map_or("", |group| group.as_str())
}

fn captured<'t>(pattern: &Option<Regex>, text: &'t str, group: usize) -> Option<&'t str> {
    Some(pattern.as_ref()?.captures(text)?.get(group)?.as_str())
}

/// A decimal number or a fraction of integers as `n` or `n/d`, reduced.
fn number(text: &str) -> Option<String> {
    if text.len() > 2 * DIGITS {
        return None;
    }
    if let Some(parts) = DECIMAL.as_ref()?.captures(text) {
        let (whole, decimals) = (group(&parts, 2), group(&parts, 3));
        let digits = format!("{whole}{decimals}");
        if digits.is_empty() || digits.len() > DIGITS {
            return None;
        }
        let value: i128 = digits.parse().ok()?;
        return reduced(sign(group(&parts, 1)) * value, 10_i128.pow(decimals.len() as u32));
    }
    let parts = RATIO.as_ref()?.captures(text)?;
    let integer = |index: usize| -> Option<i128> {
        let digits = parts.get(index)?.as_str();
        (digits.len() <= DIGITS).then(|| digits.parse().ok()).flatten()
    };
    let above = integer(2).or_else(|| integer(4))?;
    let below = integer(3).or_else(|| integer(5))?;
    reduced(sign(group(&parts, 1)) * above, below)
}

fn sign(text: &str) -> i128 {
    if text == "-" { -1 } else { 1 }
}

fn reduced(above: i128, below: i128) -> Option<String> {
    let (mut a, mut b) = (above.unsigned_abs(), below.unsigned_abs());
    if b == 0 {
        return None;
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = i128::try_from(a).ok()? * below.signum();
    let (above, below) = (above / divisor, below / divisor);
    Some(match below {
        1 => above.to_string(),
        _ => format!("{above}/{below}"),
    })
}
