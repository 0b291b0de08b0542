//! Sequences, comparisons and equations.

use rand::{Rng, RngExt};

use super::columns::{digits, place};
use super::{Level, Worked, joined, pick};

pub(super) fn sequence(level: Level, rng: &mut impl Rng) -> Worked {
    const OPENINGS: [&str; 4] = [
        "What number comes next:",
        "Continue the sequence:",
        "Find the next number:",
        "Which number follows:",
    ];
    let opening = pick(rng, &OPENINGS);
    let step = rng.random_range(1..=level.bound() / 4);
    let first = level.number(rng);
    let shrinking = rng.random_bool(0.25);
    let doubling = !shrinking && rng.random_bool(0.2);
    let mut terms = vec![if shrinking { first + 5 * step } else { first.max(1) }];
    while terms.len() < 5 {
        let last = terms.last().copied().unwrap_or_default();
        terms.push(match (shrinking, doubling) {
            (true, _) => last - step,
            (_, true) => last * 2,
            _ => last + step,
        });
    }
    let next = terms.pop().unwrap_or_default();
    let (before, last) = (terms[2], terms[3]);
    let question = format!("{opening} {}, ...", joined(&terms, ", "));
    let (equation, relation, operation) = match (shrinking, doubling) {
        (true, _) => (
            format!("{before} - {last} = {step}"),
            format!("{step} less than"),
            format!("- {step}"),
        ),
        (_, true) => (
            format!("{before} * 2 = {last}"),
            "twice".to_owned(),
            "* 2".to_owned(),
        ),
        _ => (
            format!("{last} - {before} = {step}"),
            format!("{step} more than"),
            format!("+ {step}"),
        ),
    };
    let steps = vec![
        format!("{equation}, so each number is {relation} the one before."),
        format!("{last} {operation} = {next}"),
    ];
    (question, steps, next.to_string())
}

pub(super) fn comparison(level: Level, rng: &mut impl Rng) -> Worked {
    let a = level.number(rng);
    // Close numbers more often than chance gives: they are the ones worth explaining.
    let b = match rng.random_bool(0.5) {
        true => rng.random_range(a.saturating_sub(level.bound() / 10)..=a + level.bound() / 10),
        false => level.number(rng),
    };
    if a == b {
        let question = format!("Which is larger, {a} or {b}?");
        let steps = vec![format!("{a} = {b}, they are the same.")];
        return (question, steps, "neither".to_owned());
    }
    let larger = rng.random_bool(0.5);
    let word = if larger { "larger" } else { "smaller" };
    let question = match rng.random_range(0..3) {
        0 => format!("Which is {word}, {a} or {b}?"),
        1 => format!("Which of {a} and {b} is the {word} number?"),
        _ => format!("Compare {a} and {b}. Which one is {word}?"),
    };
    let (left, right) = (digits(a), digits(b));
    let mut steps = Vec::new();
    if left.len() != right.len() {
        let count = |digits: &[u64]| match digits.len() {
            1 => "1 digit".to_owned(),
            digits => format!("{digits} digits"),
        };
        steps.push(format!("{a} has {}, {b} has {}.", count(&left), count(&right)));
    } else {
        for index in (0..left.len()).rev() {
            let (x, y) = (left[index], right[index]);
            if x == y {
                steps.push(format!("{}: {x} = {y}, go on.", place(index)));
                continue;
            }
            let sign = if x > y { ">" } else { "<" };
            steps.push(format!("{}: {x} {sign} {y}.", place(index)));
            break;
        }
    }
    steps.push(format!("{a} {} {b}", if a > b { ">" } else { "<" }));
    let answer = if larger { a.max(b) } else { a.min(b) };
    (question, steps, answer.to_string())
}

pub(super) fn equation(level: Level, rng: &mut impl Rng) -> Worked {
    let unknown = pick(rng, &["x", "y", "n"]);
    let mut value = level.number(rng);
    let b = level.positive(rng);
    let (equation, steps) = match rng.random_range(0..4) {
        0 => {
            let sum = value + b;
            let steps = vec![
                format!("Subtract {b} from both sides."),
                format!("{unknown} = {sum} - {b} = {value}"),
                format!("Check: {value} + {b} = {sum}"),
            ];
            (format!("{unknown} + {b} = {sum}"), steps)
        }
        1 => {
            let difference = value;
            value += b;
            let steps = vec![
                format!("Add {b} to both sides."),
                format!("{unknown} = {difference} + {b} = {value}"),
                format!("Check: {value} - {b} = {difference}"),
            ];
            (format!("{unknown} - {b} = {difference}"), steps)
        }
        2 => {
            let factor = rng.random_range(2..=9u64);
            let product = factor * value;
            let steps = vec![
                format!("Divide both sides by {factor}."),
                format!("{unknown} = {product} / {factor} = {value}"),
                format!("Check: {factor} * {value} = {product}"),
            ];
            (format!("{factor} * {unknown} = {product}"), steps)
        }
        _ => {
            let factor = rng.random_range(2..=9u64);
            let product = factor * value;
            let sum = product + b;
            let steps = vec![
                format!("Subtract {b} from both sides."),
                format!("{factor} * {unknown} = {sum} - {b} = {product}"),
                format!("Divide both sides by {factor}."),
                format!("{unknown} = {product} / {factor} = {value}"),
                format!("Check: {factor} * {value} + {b} = {sum}"),
            ];
            (format!("{factor} * {unknown} + {b} = {sum}"), steps)
        }
    };
    let question = match rng.random_range(0..3) {
        0 => format!("Solve {equation}."),
        1 => format!("Find {unknown} if {equation}."),
        _ => format!("For which {unknown} is {equation}?"),
    };
    (question, steps, format!("{unknown} = {value}"))
}
