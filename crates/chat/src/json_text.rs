//! JSON in texts that Python wrote: the arguments of a call, the body of a request.
//!
//! Python writes halves of surrogate pairs, NaN, infinities and whole numbers of any size. Halves become U+FFFD, as in rows.
//! NaN and infinities have no place in a [`Value`]: they are refused where they are read, and no obstacle where they are
//! skipped. A whole number beyond 64 bits would become a float, which is printed with other digits.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An escaped pair, an escaped half of one (group 1), or another escape.
static ESCAPES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?is)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(\\ud[89a-f][0-9a-f]{2})|\\.").ok()
});
/// A string, which may not end, or a word or number (group 1).
static TOKENS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?s)"(?:[^"\\]|\\.)*"?|([-+.\w]+)"#).ok());
/// Digits of the smallest number that may not fit into 64 bits.
const MANY_DIGITS: usize = 19;

/// Parses JSON as Python writes it.
///
/// # Errors
/// The text is not JSON, or holds a number without a form in JSON where it is read.
pub fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| serde_json::from_str(&mended(text)).map_err(|_| error))
}

/// Reads a value, or says what is wrong with it: "are not JSON: …".
pub(crate) fn read(text: &str) -> Result<Value, String> {
    if has_long_number(text)
        && let Some(number) = words(text).find(|word| is_beyond_64_bits(word))
    {
        return Err(format!("hold the whole number {number}, {BEYOND}"));
    }
    parse(text).map_err(|error| match words(text).find(|word| is_no_number(word)) {
        Some(word) => format!("hold {word}, which JSON does not have; write null, a number or a text"),
        None => format!("are not JSON: {error}"),
    })
}

/// The text in a form that `serde_json` accepts. Numbers without a form in JSON become one beyond the range of floats, which is
/// accepted only where it is skipped.
fn mended(text: &str) -> String {
    let (Some(escapes), Some(tokens)) = (ESCAPES.as_ref(), TOKENS.as_ref()) else {
        return text.to_owned();
    };
    let whole = escapes.replace_all(text, |found: &Captures<'_>| match found.get(1) {
        Some(_) => r"\ufffd".to_owned(),
        None => found[0].to_owned(),
    });
    let numbers = tokens.replace_all(&whole, |found: &Captures<'_>| match is_no_number(&found[0]) {
        true => "1e999".to_owned(),
        false => found[0].to_owned(),
    });
    numbers.into_owned()
}

/// A float keeps so many digits of any number, counted with its point.
const FEW_DIGITS: usize = 16;

/// Why a number cannot be read, and what to write.
const BEYOND: &str = "which has more than 64 bits; write it as a text";

/// What is wrong with a value whose numbers may have lost digits when it was read: "hold …". A number beyond 64 bits with few
/// digits, as 5.972e24, was a float as a rule.
pub(crate) fn lost_digits(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64())?;
            let fits = (i64::MIN as f64) < float && float < u64::MAX as f64;
            let digits = || format!("{float:e}").split('e').next().unwrap_or_default().len();
            (!fits && digits() > FEW_DIGITS).then(|| format!("hold the number {number}, {BEYOND}"))
        }
        Value::Array(items) => items.iter().find_map(lost_digits),
        Value::Object(entries) => entries.values().find_map(lost_digits),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

/// Whether a text may hold a number beyond 64 bits: few texts do, and a look at their bytes costs little.
fn has_long_number(text: &str) -> bool {
    text.as_bytes()
        .split(|byte| !byte.is_ascii_digit())
        .any(|digits| digits.len() >= MANY_DIGITS)
}

/// Words and numbers outside of strings.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let tokens = TOKENS.as_ref().into_iter();
    let found = tokens.flat_map(move |tokens| tokens.captures_iter(text));
    found.filter_map(|found| Some(found.get(1)?.as_str()))
}

fn is_no_number(word: &str) -> bool {
    matches!(word, "NaN" | "Infinity" | "-Infinity")
}

fn is_beyond_64_bits(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_whole && word.parse::<u64>().is_err() && word.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each quote of half a megabyte could begin a string that does not end.
    #[test]
    fn a_text_that_breaks_off_is_refused_at_once() {
        let text = format!("{{\"prompt\": \"{}", r#"\"a"#.repeat(200_000));
        let begin = std::time::Instant::now();
        assert!(parse::<Value>(&text).is_err() && read(&text).is_err());
        assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    }
}
