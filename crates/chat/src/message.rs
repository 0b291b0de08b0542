//! What the keys of a message are called, and what stands in them.

use serde_json::Value;

/// The roles that a message may have.
pub const ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "developer"];

/// Keys of messages with a thought in them.
pub const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// The role of a message, empty where it has none.
pub(crate) fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// The type of a value, in words.
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
