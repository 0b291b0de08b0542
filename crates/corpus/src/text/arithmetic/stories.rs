//! Word problems: people, things, and what happens to them.

use rand::{Rng, RngExt};

use super::{Level, Worked, pick};

const NAMES: [&str; 24] = [
    "Ada", "Ben", "Carla", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Leo",
    "Mina", "Noor", "Oskar", "Paula", "Quinn", "Rosa", "Samir", "Tara", "Uma", "Viktor", "Wanda", "Yusuf",
];

/// Countable things whose plural ends in `s`.
const THINGS: [&str; 20] = [
    "apple", "book", "marble", "stamp", "coin", "pencil", "shell", "card", "button", "cookie", "sticker",
    "plum", "nail", "brick", "ticket", "bead", "egg", "flower", "stone", "pear",
];

const HOLDERS: [&str; 6] = ["boxes", "bags", "baskets", "jars", "shelves", "crates"];

/// A number of things: `1 apple`, `2 apples`.
fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn story(level: Level, rng: &mut impl Rng) -> Worked {
    match rng.random_range(0..6) {
        0 => gains(level, rng),
        1 => gives_away(level, rng),
        2 => holders(level, rng),
        3 => shares(level, rng),
        4 => more_than(level, rng),
        _ => buys(level, rng),
    }
}

/// A first name, and another one.
fn two_people(rng: &mut impl Rng) -> (&'static str, &'static str) {
    let first = rng.random_range(0..NAMES.len());
    let second = (first + rng.random_range(1..NAMES.len())) % NAMES.len();
    (NAMES[first], NAMES[second])
}

fn gains(level: Level, rng: &mut impl Rng) -> Worked {
    let (who, thing) = (pick(rng, &NAMES), pick(rng, &THINGS));
    let (a, b) = (level.positive(rng), level.positive(rng));
    let verb = pick(rng, &["finds", "gets", "buys", "collects"]);
    let total = a + b;
    let question = format!(
        "{who} has {} and {verb} {b} more. How many {thing}s does {who} have now?",
        count(a, thing)
    );
    let steps = vec![
        format!("{a} + {b} = {total}"),
        format!("Now {who} has {}.", count(total, thing)),
    ];
    (question, steps, total.to_string())
}

fn gives_away(level: Level, rng: &mut impl Rng) -> Worked {
    let (who, other) = two_people(rng);
    let thing = pick(rng, &THINGS);
    let a = rng.random_range(2..level.bound());
    let b = rng.random_range(1..a);
    let left = a - b;
    let question = format!(
        "{who} had {} and gave {b} of them to {other}. How many {thing}s does {who} have left?",
        count(a, thing)
    );
    let steps = vec![
        format!("{a} - {b} = {left}"),
        format!("{who} has {} left.", count(left, thing)),
    ];
    (question, steps, left.to_string())
}

fn holders(level: Level, rng: &mut impl Rng) -> Worked {
    let (thing, holder) = (pick(rng, &THINGS), pick(rng, &HOLDERS));
    let boxes = rng.random_range(2..=9u64);
    let each = rng.random_range(2..level.bound().max(12) / 2);
    let extra = level.number(rng);
    let product = boxes * each;
    let begin = format!("There are {boxes} {holder} with {each} {thing}s in each");
    let mut steps = vec![format!("{boxes} * {each} = {product}")];
    if extra == 0 {
        let question = format!("{begin}. How many {thing}s are there?");
        return (question, steps, product.to_string());
    }
    let total = product + extra;
    steps.push(format!("{product} + {extra} = {total}"));
    let question = format!("{begin}, and {extra} more on the floor. How many {thing}s are there in all?");
    (question, steps, total.to_string())
}

fn shares(level: Level, rng: &mut impl Rng) -> Worked {
    let (who, thing) = (pick(rng, &NAMES), pick(rng, &THINGS));
    let people = rng.random_range(2..=9u64);
    let each = rng.random_range(1..level.bound().max(12) / 2);
    let rest = match rng.random_bool(0.6) {
        true => 0,
        false => rng.random_range(1..people),
    };
    let (even, total) = (people * each, people * each + rest);
    let question = format!(
        "{who} shares {} equally among {people} children. How many does each child get, and how many are left?",
        count(total, thing)
    );
    let steps = vec![
        format!("{people} * {each} = {even}"),
        format!("{total} - {even} = {rest}"),
        format!("Each child gets {each}, and {rest} are left."),
    ];
    (question, steps, format!("{each} each, {rest} left"))
}

fn more_than(level: Level, rng: &mut impl Rng) -> Worked {
    let (who, other) = two_people(rng);
    let thing = pick(rng, &THINGS);
    let (a, b) = (level.positive(rng), level.positive(rng));
    let (second, total) = (a + b, a + a + b);
    let question = format!(
        "{who} has {}. {other} has {b} more than {who}. How many {thing}s do they have together?",
        count(a, thing)
    );
    let steps = vec![
        format!("{other} has {a} + {b} = {second}."),
        format!("Together: {a} + {second} = {total}"),
    ];
    (question, steps, total.to_string())
}

fn buys(level: Level, rng: &mut impl Rng) -> Worked {
    let (who, thing) = (pick(rng, &NAMES), pick(rng, &THINGS));
    let number = rng.random_range(2..=9u64);
    let price = rng.random_range(1..level.bound().max(12) / 2);
    let change = level.number(rng);
    let cost = number * price;
    let paid = cost + change;
    let question = format!(
        "{who} buys {} for {price} cents each and pays with {paid} cents. How much change does {who} get?",
        count(number, thing)
    );
    let steps = vec![
        format!("{number} * {price} = {cost}"),
        format!("{paid} - {cost} = {change}"),
    ];
    (question, steps, format!("{change} cents"))
}
