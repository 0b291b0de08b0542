//! The four operations as done on paper, one line per step.

use rand::{Rng, RngExt};

use super::{Level, Worked, joined, pick};

/// What the columns of a number are called, from the right.
const PLACES: [&str; 5] = ["ones", "tens", "hundreds", "thousands", "ten thousands"];

/// Digits from the right; `0` has one.
pub(super) fn digits(mut number: u64) -> Vec<u64> {
    let mut digits = vec![number % 10];
    while number >= 10 {
        number /= 10;
        digits.push(number % 10);
    }
    digits
}

pub(super) fn place(index: usize) -> &'static str {
    PLACES.get(index).copied().unwrap_or("next place")
}

/// `407` → `[400, 7]`.
fn parts(number: u64) -> Vec<u64> {
    let digits = digits(number).into_iter().enumerate().rev();
    let parts = digits.map(|(power, digit)| digit * 10u64.pow(power as u32));
    parts.filter(|part| *part > 0).collect()
}

/// A question in one of the usual forms; `words` is the sentence form.
fn ask(rng: &mut impl Rng, words: String, formula: String) -> String {
    match rng.random_range(0..4) {
        0 => format!("What is {formula}?"),
        1 => format!("Calculate {formula}."),
        2 => format!("{formula} = ?"),
        _ => words,
    }
}

pub(super) fn addition(level: Level, rng: &mut impl Rng) -> Worked {
    let (a, b) = (level.number(rng), level.number(rng));
    let question = ask(rng, format!("Add {a} and {b}."), format!("{a} + {b}"));
    let (left, right) = (digits(a), digits(b));
    let mut steps = Vec::new();
    let mut carry = 0;
    if left.len() > 1 || right.len() > 1 {
        for index in 0..left.len().max(right.len()) {
            let mut terms: Vec<u64> = [&left, &right]
                .iter()
                .filter_map(|digits| digits.get(index).copied())
                .collect();
            terms.extend((carry > 0).then_some(carry));
            let sum: u64 = terms.iter().sum();
            carry = sum / 10;
            let shown = match terms.len() {
                0 | 1 => joined(&terms, ""),
                _ => format!("{} = {sum}", joined(&terms, " + ")),
            };
            let rest = match carry {
                0 => format!("write {sum}"),
                _ => format!("write {}, carry {carry}", sum % 10),
            };
            steps.push(format!("{}: {shown}, {rest}.", place(index)));
        }
        if carry > 0 {
            steps.push(format!("{}: write {carry}.", place(left.len().max(right.len()))));
        }
    }
    steps.push(format!("{a} + {b} = {}", a + b));
    (question, steps, (a + b).to_string())
}

pub(super) fn subtraction(level: Level, rng: &mut impl Rng) -> Worked {
    let a = level.number(rng);
    let b = rng.random_range(0..=a);
    let question = ask(rng, format!("Subtract {b} from {a}."), format!("{a} - {b}"));
    let (left, right) = (digits(a), digits(b));
    let mut steps = Vec::new();
    let mut borrowed = 0;
    if left.len() > 1 {
        for (index, top) in left.iter().copied().enumerate() {
            let take = right.get(index).copied().unwrap_or(0) + borrowed;
            let lent = u64::from(top < take);
            let written = top + 10 * lent - take;
            let column = place(index);
            steps.push(match (lent, take) {
                (0, 0) => format!("{column}: write {top}."),
                (0, _) => format!("{column}: {top} - {take} = {written}, write {written}."),
                _ => {
                    let raised = top + 10;
                    format!("{column}: {top} is less than {take}, borrow, {raised} - {take} = {written}, write {written}.")
                }
            });
            borrowed = lent;
        }
    }
    steps.push(format!("{a} - {b} = {}", a - b));
    (question, steps, (a - b).to_string())
}

pub(super) fn multiplication(level: Level, rng: &mut impl Rng) -> Worked {
    // The second factor stays small, so that the product has at most one digit more than the first.
    let a = rng.random_range(2..level.bound().max(11));
    let b = rng.random_range(2..=9u64);
    let question = ask(rng, format!("Multiply {a} by {b}."), format!("{a} * {b}"));
    let parts = parts(a);
    let mut steps = Vec::new();
    if parts.len() > 1 {
        steps.push(format!("{a} = {}", joined(&parts, " + ")));
        let products: Vec<u64> = parts.iter().map(|part| part * b).collect();
        for (part, product) in parts.iter().zip(&products) {
            steps.push(format!("{part} * {b} = {product}"));
        }
        steps.push(format!("{} = {}", joined(&products, " + "), a * b));
    }
    steps.push(format!("{a} * {b} = {}", a * b));
    (question, steps, (a * b).to_string())
}

pub(super) fn division(level: Level, rng: &mut impl Rng) -> Worked {
    let b = rng.random_range(2..=9u64);
    let quotient = rng.random_range(1..level.bound().max(20) / 2);
    let rest = match rng.random_bool(0.5) {
        true => 0,
        false => rng.random_range(1..b),
    };
    let a = quotient * b + rest;
    let question = match rng.random_range(0..3) {
        0 => format!("Divide {a} by {b}."),
        1 => format!("What is {a} divided by {b}?"),
        _ => format!("How many times does {b} go into {a}, and what is left?"),
    };
    let mut steps = Vec::new();
    let mut left = a;
    let parts = parts(quotient);
    for part in &parts {
        let product = b * part;
        steps.push(format!(
            "{b} * {part} = {product}, {left} - {product} = {}",
            left - product
        ));
        left -= product;
    }
    if parts.len() > 1 {
        steps.push(format!("{} = {quotient}", joined(&parts, " + ")));
    }
    let answer = match rest {
        0 => {
            steps.push(pick(rng, &["Nothing is left.", "There is no remainder."]).to_owned());
            quotient.to_string()
        }
        _ => {
            steps.push(format!("{rest} is less than {b}, so {rest} is left."));
            format!("{quotient} remainder {rest}")
        }
    };
    (question, steps, answer)
}
