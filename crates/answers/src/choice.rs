//! The letter of a choice in a model's answer.

use std::sync::LazyLock;

use regex::Regex;

/// `The answer is (B)`, `**Answer:** B`, `final answer is $\boxed{B}$`, `<answer>B</answer>`, up to ten choices.
static STATED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)(?:<answer>|\banswer[*_]*(?: is|:))[\s:*_]*",
        r"(?:\\boxed\{|\\text\{|\\?[(\[]|\*+|\$|option |choice )*([A-J])\b",
    ))
    .ok()
});
/// A letter that opens the answer: `B`, `(B)`, `**B.** Paris`, `B) Paris`, `B: Paris`.
static OPENS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^\s*(?:\\text\{|\\?[(\[]|\*+|\$)*([A-J])(?:\s*(?:[)\].:,}$*\n]|\\[)\]])|\s*$)").ok()
});

/// The letter that `said` chooses: in its last statement of an answer, else at its start.
pub fn choice(said: &str) -> Option<char> {
    let stated = || {
        let found = STATED.as_ref()?.captures_iter(said).last()?;
        found.get(1)?.as_str().chars().next()
    };
    let opens = || OPENS.as_ref()?.captures(said)?.get(1)?.as_str().chars().next();
    stated().or_else(opens).map(|letter| letter.to_ascii_uppercase())
}
