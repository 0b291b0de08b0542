//! The keys and roles of messages.

use serde_json::{Map, Value};

/// The roles that a message may have.
pub const ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "developer"];

/// Keys of a message with a thought.
pub const REASONING: [&str; 5] = [
    "reasoning_content",
    "reasoning",
    "thinking",
    "thought",
    "tool_plan",
];

/// The role of a message, empty where it has none.
pub(crate) fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// Keys of a message that say whether it is learned: OpenAI's, and another of Axolotl's.
const LEARNED: [&str; 2] = ["weight", "train"];

/// Whether an answer is to be left out of the loss.
pub(crate) fn is_unlearned(message: &Value) -> bool {
    let learned = LEARNED.iter().filter_map(|key| is_learned(message.get(*key)?));
    role(message) == "assistant" && learned.into_iter().any(|learned| !learned)
}

/// The first key of a message that says neither that it is learned nor that it is not.
pub(crate) fn unclear_weight(message: &Map<String, Value>) -> Option<(&'static str, &Value)> {
    let given = LEARNED
        .into_iter()
        .filter_map(|key| Some((key, message.get(key)?)));
    given.into_iter().find(|(_, value)| is_learned(value).is_none())
}

fn is_learned(weight: &Value) -> Option<bool> {
    match (weight, weight.as_f64()) {
        (Value::Bool(learned), _) => Some(*learned),
        (_, Some(0.0)) => Some(false),
        (_, Some(1.0)) | (Value::Null, _) => Some(true),
        _ => None,
    }
}

/// The type of a value in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The beginning of a text, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Whether a value is more than a columnar file's placeholder.
pub(crate) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Begins a thought in the assistant's content.
pub(crate) const THOUGHT: &str = "<think>";
/// Ends it.
pub(crate) const END_OF_THOUGHT: &str = "</think>";

/// The text after the last thought; `None` while a thought is open.
pub fn spoken(text: &str) -> Option<&str> {
    match text.rsplit_once(END_OF_THOUGHT) {
        Some((_, spoken)) => Some(spoken),
        None => (!text.contains(THOUGHT)).then_some(text),
    }
}
