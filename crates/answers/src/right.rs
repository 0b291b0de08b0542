//! Whether an answer is right, where the right one is known.

use crate::{extract, last_number, normalise};

/// Whether `said`, an answer without its thought, gives `expected`.
///
/// What counts is what `said` marks as its answer; else its last number, if a number is expected; else all of it. Upper and
/// lower case are alike.
pub fn is_right(said: &str, expected: &str) -> bool {
    let plain = |answer: &str| normalise(answer).to_lowercase();
    let due = plain(expected);
    if due.is_empty() {
        return false;
    }
    let found = extract(said);
    let is_number = last_number(&due).is_some_and(|number| number == due) || due.contains('/');
    match found {
        Some(found) if found.marked => plain(&found.text) == due,
        Some(found) if is_number => plain(&found.text) == due,
        _ => plain(said) == due,
    }
}
