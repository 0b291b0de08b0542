//! Answers in one spelling, so that equal ones are equal strings: `$1,234.50`, `1234.5` and `\frac{2469}{2}`.
//!
//! The rules are those that graders of MATH and GSM8K apply (`hendrycks_math.py` and `minerva_math/utils.py` of
//! lm-evaluation-harness: what is layout, units and thousands is left out, fractions and roots get their braces), and one
//! more: decimal numbers and fractions of integers become one reduced fraction, exactly. `0.333` is not `1/3`. Algebra is
//! not done: `x+1` and `1+x` differ.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Layout and signs that say nothing about the value.
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

/// An answer in the spelling in which it is compared.
pub fn normalise(answer: &str) -> String {
    let mut text = answer.to_owned();
    // What one rule leaves may be another's work; each shortens the text or adds the braces of a fraction once.
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
    let mut text = replaced(&WORDS, answer, |words| {
        let inside = words.get(1).map_or("", |inside| inside.as_str());
        let before = words
            .get(0)
            .and_then(|all| answer.get(..all.start()))
            .unwrap_or_default();
        // After a number it is a unit.
        let unit = before
            .trim_end()
            .ends_with(|c: char| c.is_ascii_digit() || c == '}');
        match unit {
            true => String::new(),
            false => format!("{inside}{}", words.get(2).map_or("", |power| power.as_str())),
        }
    });
    text = replaced(&LAYOUT, &text, |kept| {
        kept.get(1).map_or("", |row| row.as_str()).to_owned()
    });
    text = text.replace("{,}", ",").replace('−', "-");
    text = replaced(&RELATION, &text, |relation| {
        relation.get(1).map_or("", |name| name.as_str()).to_owned()
    });
    text = replaced(&BRACED_SIGN, &text, |parts| format!("{}{}", &parts[1], &parts[2]));
    text = replaced(&FRACTION, &text, |_| r"\frac".to_owned());
    let braced = |part: &str| match part.starts_with('{') {
        true => part.to_owned(),
        false => format!("{{{part}}}"),
    };
    text = replaced(&BARE_FRACTION, &text, |parts| {
        let part = |index: usize| braced(parts.get(index).map_or("", |part| part.as_str()));
        format!(r"\frac{}{}", part(1), part(2))
    });
    text = replaced(&BARE_ROOT, &text, |parts| {
        format!(r"\sqrt{}", braced(parts.get(1).map_or("", |part| part.as_str())))
    });
    text.retain(|letter| !letter.is_whitespace());
    let text = text.trim_end_matches('.');
    let text = captured(&EQUALS, text, 1).unwrap_or(text);
    let text = match THOUSANDS.as_ref().is_some_and(|pattern| pattern.is_match(text)) {
        true => text.replace(',', ""),
        false => text.to_owned(),
    };
    let slash = |parts: Captures<'_>| format!(r"{}\frac{{{}}}{{{}}}", &parts[1], &parts[2], &parts[3]);
    number(&text)
        .or_else(|| Some(slash(SLASH.as_ref()?.captures(&text)?)))
        .unwrap_or(text)
}

fn replaced(pattern: &Option<Regex>, text: &str, by: impl Fn(&Captures<'_>) -> String) -> String {
    match pattern {
        Some(pattern) => pattern.replace_all(text, by).into_owned(),
        None => text.to_owned(),
    }
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
        let part = |index: usize| parts.get(index).map_or("", |part| part.as_str());
        let (whole, decimals) = (part(2), part(3));
        let digits = format!("{whole}{decimals}");
        if digits.is_empty() || digits.len() > DIGITS {
            return None;
        }
        let value: i128 = digits.parse().ok()?;
        return reduced(sign(part(1)) * value, 10_i128.pow(decimals.len() as u32));
    }
    let parts = RATIO.as_ref()?.captures(text)?;
    let integer = |index: usize| -> Option<i128> {
        let digits = parts.get(index)?.as_str();
        (digits.len() <= DIGITS).then(|| digits.parse().ok()).flatten()
    };
    let above = integer(2).or_else(|| integer(4))?;
    let below = integer(3).or_else(|| integer(5))?;
    reduced(sign(parts.get(1).map_or("", |sign| sign.as_str())) * above, below)
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
