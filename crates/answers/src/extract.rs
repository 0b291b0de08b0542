//! The answer in a solution.
//!
//! Marked answers are looked for first: the last `\boxed{…}` (MATH), the first `#### …` (GSM8K; what comes later is
//! another problem's), `final answer is …` (the Minerva prompt). Else it is the last number, as
//! lm-evaluation-harness's flexible extraction has it.

use std::sync::LazyLock;

use regex::Regex;

/// An answer as it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// The answer, not normalised.
    pub text: String,
    /// Whether the text says that this is the answer.
    pub marked: bool,
}

static HASHES: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"####[ \t]*([^\n]*[^\s])").ok());
static FINAL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)final answer is:?\s*([^\n]*?)\.?\s*(?:I hope it is correct|\n|$)").ok()
});
static NUMBER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"-?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)").ok());

/// The answer in `text`, if there is one.
pub fn extract(text: &str) -> Option<Extracted> {
    let first = |pattern: &Option<Regex>| Some(pattern.as_ref()?.captures(text)?.get(1)?.as_str().to_owned());
    let marked = boxed(text)
        .or_else(|| first(&HASHES))
        .or_else(|| first(&FINAL))
        .filter(|answer| !answer.trim().is_empty());
    if let Some(text) = marked {
        return Some(Extracted { text, marked: true });
    }
    Some(Extracted {
        text: last_number(text)?.to_owned(),
        marked: false,
    })
}

/// The last number in `text`.
pub fn last_number(text: &str) -> Option<&str> {
    Some(NUMBER.as_ref()?.find_iter(text).last()?.as_str())
}

/// What the last `\boxed` or `\fbox` holds whose braces are closed; `\boxed 5` too.
fn boxed(text: &str) -> Option<String> {
    let mut found: Vec<usize> = [r"\boxed", r"\fbox"]
        .iter()
        .flat_map(|name| text.match_indices(name).map(|(at, name)| at + name.len()))
        .collect();
    found.sort_unstable();
    found.into_iter().rev().find_map(|at| {
        let rest = text.get(at..)?;
        match rest.trim_start().strip_prefix('{') {
            Some(inside) => inside.get(..closing(inside)?).map(str::to_owned),
            None => {
                let word = rest.strip_prefix(' ')?;
                let end = word.find([' ', '$', '\n']).unwrap_or(word.len());
                word.get(..end).filter(|word| !word.is_empty()).map(str::to_owned)
            }
        }
    })
}

/// Where the brace closes that was open before `inside`.
fn closing(inside: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, letter) in inside.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}
