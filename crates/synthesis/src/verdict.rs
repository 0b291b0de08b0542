//! Whether an answer is right, where the right one is known.
//!
//! The usual rules of exact match for worked answers: what counts is the last `\boxed{…}` if there is one, else the last
//! number if the right answer is a number, else everything that was said. Upper and lower case are alike, and so are
//! `1,234`, `1234` and `1234.0`.

/// Whether `said`, an answer without its thought, gives `expected`.
pub fn is_right(said: &str, expected: &str) -> bool {
    let due = plain(expected);
    match (last_boxed(said), number(&due)) {
        (Some(boxed), Some(due)) => last_number(&plain(boxed)) == Some(due),
        (Some(boxed), None) => plain(boxed) == due,
        (None, Some(due)) => last_number(said) == Some(due),
        (None, None) => plain(said) == due,
    }
}

/// Lower case, single spaces, without the sign that ends a sentence.
fn plain(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

/// What stands in the last `\boxed{…}`, braces inside it matched.
fn last_boxed(text: &str) -> Option<&str> {
    const BOXED: &str = "\\boxed{";
    let inside = text.get(text.rfind(BOXED)? + BOXED.len()..)?;
    let mut depth = 1;
    for (at, character) in inside.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return inside.get(..at);
        }
    }
    None
}

/// A number that is the whole text, thousands set apart by commas or not.
fn number(text: &str) -> Option<f64> {
    let digits: String = text.trim().chars().filter(|c| *c != ',').collect();
    let numeric = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let parsed: f64 = digits.chars().all(numeric).then(|| digits.parse().ok())??;
    parsed.is_finite().then_some(parsed)
}

fn last_number(text: &str) -> Option<f64> {
    let pieces = text.split(|c: char| !(c.is_ascii_digit() || ".,-".contains(c)));
    // A minus between two numbers is no sign: "5-3" ends in 3.
    let tidy = |piece: &str| {
        let piece = piece.trim_matches([',', '.']).trim_end_matches('-');
        let sign = piece.rfind('-').unwrap_or(0);
        number(piece.get(if sign > 0 { sign + 1 } else { 0 }..)?)
    };
    pieces.rev().find_map(tidy)
}
