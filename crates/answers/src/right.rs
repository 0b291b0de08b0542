//! Comparison with a known answer.

use crate::choice::choice;
use crate::extract::last_number;
use crate::{extract, extract_number, normalise};

/// Whether `said`, an answer without its thought, gives `expected`.
///
/// If `expected` is the letter of a choice (`B`, `(B)`), it is compared with the letter that `said` chooses. If it is a
/// number, with the number that `said` marks, else its last one. Otherwise with the marked answer, else with all of `said`.
/// Case is ignored.
pub fn is_right(said: &str, expected: &str) -> bool {
    let plain = |answer: &str| normalise(answer).to_lowercase();
    let due = plain(expected);
    if due.is_empty() {
        return false;
    }
    let found = extract(said);
    let marked = found.as_ref().filter(|found| found.marked);
    if marked.is_some_and(|found| plain(&found.text) == due) {
        return true;
    }
    if let Some(letter) = letter(expected) {
        let said = marked.map_or(said, |found| &found.text);
        return choice(said) == Some(letter);
    }
    // As a decimal number is written, or as it is normalised: 18.5 becomes 37/2.
    let is_number = |text: &str| last_number(text).is_some_and(|number| number == text);
    if is_number(&due) || is_number(expected.trim()) {
        return extract_number(said).is_some_and(|found| plain(&found.text) == due);
    }
    match found {
        Some(found) if !found.marked && due.contains('/') => plain(&found.text) == due,
        Some(found) if found.marked => false,
        _ => plain(said) == due,
    }
}

/// The letter of a choice, alone or in brackets.
fn letter(expected: &str) -> Option<char> {
    let inside = expected
        .trim()
        .trim_start_matches('(')
        .trim_end_matches([')', '.']);
    let mut letters = inside.chars();
    match (letters.next(), letters.next()) {
        (Some(letter @ 'A'..='J'), None) => Some(letter),
        _ => None,
    }
}
