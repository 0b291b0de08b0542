//! Options with a fixed set of values, each with its help.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use smollm3_corpus::tokenize::BadRows;
use smollm3_recipe::Precision;

/// The name of a value, the value, and its help.
pub type Choice<T> = (&'static str, T, &'static str);

/// Type of weights and matrix products.
pub const PRECISIONS: &[Choice<Precision>] = &[
    ("f32", Precision::F32, "Single precision"),
    ("bf16", Precision::Bf16, "bfloat16"),
];

/// How bad rows are treated.
pub const BAD_ROWS: &[Choice<BadRows>] = &[
    (
        "stop",
        BadRows::Stop,
        "Stop at the first one and name its file and line",
    ),
    ("skip", BadRows::Skip, "Skip and count them"),
];

/// Parses one of `choices`.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    choices: &'static [Choice<T>],
) -> impl TypedValueParser<Value = T> {
    let values = choices
        .iter()
        .map(|(name, _, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values).try_map(|name| {
        let choice = choices.iter().find(|(known, ..)| *known == name);
        choice.map(|(_, value, _)| *value).ok_or("unknown value")
    })
}
