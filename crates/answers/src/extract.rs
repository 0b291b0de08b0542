//! The answer in a solution.
//!
//! Marked answers come first: the last `\boxed{…}` (MATH), the first `#### …` (GSM8K; later ones belong to another problem),
//! `final answer is …` (the Minerva prompt), and for numbers `answer is …`, `Answer: …` and `<answer>…</answer>`. Without a
//! mark, the answer is the last number, as in the flexible extraction of lm-evaluation-harness.

use std::sync::LazyLock;

use regex::Regex;

use crate::normal::{WORDS, replaced};

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
/// The last sentence of the chain-of-thought examples of GSM8K, and `**Answer:** 72`, `<answer>72</answer>`. After a colon, the
/// number is on the same line: the next one may begin a list.
static ANSWER_IS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(&format!(
        concat!(
            r"(?i)(?:(?:<answer>|(?:\b|_)answer[*_]*\s*(?:is\b|=):?)\s*|(?:\b|_)answer[*_]*[ \t]*:)",
            r"[*_ \t]*(?:(?:about|around|approximately|roughly|exactly|equal to|only|just)[ \t]+)?",
            r"(?:\\?[(\[]\s*|\\?\$\s*|[*_`£€ \t])*([-−]?\$?(?:{})[^\n]*)",
        ),
        DIGITS
    ))
    .ok()
});
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&format!(r"[-−]?\$?(?:{DIGITS})")).ok());

/// A comma belongs to a number only between digits: in `72, in all` it ends a clause.
const DIGITS: &str = r"\d+(?:,\d+)*(?:\.\d+)?|\.\d+";

/// The answer in `text`, if there is one.
pub fn extract(text: &str) -> Option<Extracted> {
    let number = || (last_number(text).map(str::to_owned), false);
    let (text, marked) = marked(text).map_or_else(number, |text| (Some(text), true));
    Some(Extracted { text: text?, marked })
}

/// The answer in `text` to a problem whose answers are numbers: of `#### 18 dollars`, it is 18.
pub fn extract_number(text: &str) -> Option<Extracted> {
    if let Some(inside) = boxed(text).filter(|inside| last_number(inside).is_some()) {
        // Units may hold digits: of `12\text{ cm}^2`, it is 12.
        let numbers = replaced(&WORDS, &inside, " ");
        return number_of(last_number(&numbers)?, true);
    }
    if let Some(line) = first(&HASHES, text).filter(|line| last_number(line).is_some()) {
        return number_of(stated(line)?, true);
    }
    if let Some(rest) = last_stated(text) {
        let sentence = rest.split_once(". ").map_or(rest, |(sentence, _)| sentence);
        return number_of(stated(sentence)?, true);
    }
    // A marked answer without a number still is the answer, though a wrong one.
    if let Some(text) = marked(text) {
        return Some(Extracted { text, marked: true });
    }
    number_of(last_number(text)?, false)
}

/// What follows the last `answer is` or `Answer:`. After `Answer:` a model may write its whole solution, which ends with the answer.
fn last_stated(text: &str) -> Option<&str> {
    const COMMENT: usize = 32;
    let found = ANSWER_IS.as_ref()?.captures_iter(text).last()?;
    let (whole, rest) = (found.get(0)?, found.get(1)?);
    let mark = text.get(whole.start()..rest.start())?.to_ascii_lowercase();
    let is_label = !["is", "=", "<"].iter().any(|word| mark.contains(word));
    let rest = rest.as_str();
    let is_solution = is_label && (rest.contains(". ") || rest.chars().count() > COMMENT);
    (!is_solution).then_some(rest)
}

/// The first number is the answer, and the rest a comment; of `40 + 32 = 72`, it is 72.
fn stated(line: &str) -> Option<&str> {
    let result = line.rsplit_once('=').map_or(line, |(_, result)| result);
    first_number(result).or_else(|| first_number(line))
}

fn number_of(number: &str, marked: bool) -> Option<Extracted> {
    // As in the harness, all commas are removed.
    let text = number.replace(',', "").replace('−', "-");
    Some(Extracted { text, marked })
}

fn marked(text: &str) -> Option<String> {
    boxed(text)
        .or_else(|| first(&HASHES, text).map(str::to_owned))
        .or_else(|| first(&FINAL, text).map(str::to_owned))
        .filter(|answer| !answer.trim().is_empty())
}

fn first<'t>(pattern: &Option<Regex>, text: &'t str) -> Option<&'t str> {
    Some(pattern.as_ref()?.captures(text)?.get(1)?.as_str())
}

/// The last number in `text`.
pub fn last_number(text: &str) -> Option<&str> {
    Some(NUMBER.as_ref()?.find_iter(text).last()?.as_str())
}

fn first_number(text: &str) -> Option<&str> {
    Some(NUMBER.as_ref()?.find(text)?.as_str())
}

/// The contents of the last `\boxed` or `\fbox` with closed braces; `\boxed 5` too.
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

/// The closing brace of the one that was open before `inside`.
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
