//! Word problems: people, things, and what happens to them.

use rand::{Rng, RngExt};

use super::{Level, Worked, pick};

const NAMES: [&str; 24] = [
    "Ada", "Ben", "Carla", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Leo",
    "Mina", "Noor", "Oskar", "Paula", "Quinn", "Rosa", "Samir", "Tara", "Uma", "Viktor", "Wanda", "Yusuf",
];

/// Things one can have several of: one, many.
const THINGS: [(&str, &str); 20] = [
    ("apple", "apples"),
    ("book", "books"),
    ("marble", "marbles"),
    ("stamp", "stamps"),
    ("coin", "coins"),
    ("pencil", "pencils"),
    ("shell", "shells"),
    ("card", "cards"),
    ("button", "buttons"),
    ("cookie", "cookies"),
    ("sticker", "stickers"),
    ("plum", "plums"),
    ("nail", "nails"),
    ("brick", "bricks"),
    ("ticket", "tickets"),
    ("bead", "beads"),
    ("egg", "eggs"),
    ("flower", "flowers"),
    ("stone", "stones"),
    ("pear", "pears"),
];

const HOLDERS: [(&str, &str); 6] = [
    ("box", "boxes"),
    ("bag", "bags"),
    ("basket", "baskets"),
    ("jar", "jars"),
    ("shelf", "shelves"),
    ("crate", "crates"),
];

/// A thing in the right number: `1 apple`, `2 apples`.
fn count(number: u64, (one, many): (&str, &str)) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {many}")
    }
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
    let (a, b) = (
        rng.random_range(1..level.bound()),
        rng.random_range(1..level.bound()),
    );
    let verb = pick(rng, &["finds", "gets", "buys", "collects"]);
    let total = a + b;
    let question = format!(
        "{who} has {} and {verb} {b} more. How many {} does {who} have now?",
        count(a, thing),
        thing.1
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
        "{who} had {} and gave {b} of them to {other}. How many {} does {who} have left?",
        count(a, thing),
        thing.1
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
    let extra = rng.random_range(0..level.bound());
    let product = boxes * each;
    let begin = format!("There are {boxes} {} with {each} {} in each", holder.1, thing.1);
    let mut steps = vec![format!("{boxes} * {each} = {product}")];
    if extra == 0 {
        return (
            format!("{begin}. How many {} are there?", thing.1),
            steps,
            product.to_string(),
        );
    }
    let total = product + extra;
    steps.push(format!("{product} + {extra} = {total}"));
    let question = format!(
        "{begin}, and {extra} more on the floor. How many {} are there in all?",
        thing.1
    );
    (question, steps, total.to_string())
}

fn shares(level: Level, rng: &mut impl Rng) -> Worked {
    let (who, thing) = (pick(rng, &NAMES), pick(rng, &THINGS));
    let people = rng.random_range(2..=9u64);
    let each = rng.random_range(1..level.bound().max(12) / 2);
    let rest = if rng.random_bool(0.6) {
        0
    } else {
        rng.random_range(1..people)
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
    let (a, b) = (
        rng.random_range(1..level.bound()),
        rng.random_range(1..level.bound()),
    );
    let (second, total) = (a + b, a + a + b);
    let question = format!(
        "{who} has {}. {other} has {b} more than {who}. How many {} do they have together?",
        count(a, thing),
        thing.1
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
    let change = rng.random_range(0..level.bound());
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
