//! The keys and roles of messages.

use serde_json::Value;

/// The roles that a message may have.
pub const ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "developer"];

/// Keys of a message with a thought.
pub const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// The role of a message, empty where it has none.
pub(crate) fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
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
