//! Rewrites a conversation into a form that a template supports.
//!
//! Templates of small models only support text of the roles `system`, `user` and `assistant`. Then a developer's message
//! becomes a system message, and calls are written into the text as Hermes and SmolLM3 write them, which is also how the
//! server parses them. Training, evaluation and the server all use this, so that a model sees the same text everywhere.

use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::message::role;
use crate::python;
use crate::template::{Template, jinja};

/// Begins a call.
pub const TOOL_CALL: &str = "<tool_call>";
/// Ends a call.
pub const END_TOOL_CALL: &str = "</tool_call>";

/// A call as models write it: `name` and `arguments` as JSON with Python's spacing, between two tags.
pub fn spell_call(name: &Value, arguments: &Value) -> String {
    let call = json!({"name": name, "arguments": arguments});
    let call = python::dumps(&jinja(&call)).unwrap_or_else(|_| call.to_string());
    format!("{TOOL_CALL}\n{call}\n{END_TOOL_CALL}")
}

impl Template {
    /// The conversation in a form that this template supports.
    pub(crate) fn fitted(&self, conversation: &Conversation) -> Conversation {
        let mut fitted = conversation.clone();
        for message in fitted.messages.iter_mut().filter_map(Value::as_object_mut) {
            if !self.knows_developer && message.get("role").is_some_and(|role| role == "developer") {
                message.insert("role".to_owned(), json!("system"));
            }
            if self.knows_calls {
                continue;
            }
            let Some(Value::Array(calls)) = message.get("tool_calls") else {
                continue;
            };
            let calls: Vec<String> = calls.iter().map(spelled).collect();
            let said = message.get("content").and_then(Value::as_str).unwrap_or_default();
            let said = Some(said).filter(|said| !said.is_empty()).map(str::to_owned);
            let parts: Vec<String> = said.into_iter().chain(calls).collect();
            message.shift_remove("tool_calls");
            message.insert("content".to_owned(), Value::String(parts.join("\n")));
        }
        fitted
    }
}

fn spelled(call: &Value) -> String {
    let function = call.get("function").unwrap_or(call);
    let part = |name: &str| function.get(name).cloned().unwrap_or_default();
    spell_call(&part("name"), &part("arguments"))
}

/// Whether a message says nothing: only white space, no thought, no call.
pub(crate) fn is_silent(message: &Value) -> bool {
    let text = |key: &str| {
        message
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .trim()
    };
    let calls = message.get("tool_calls").and_then(Value::as_array);
    text("content").is_empty()
        && calls.is_none_or(Vec::is_empty)
        && crate::message::REASONING.iter().all(|key| text(key).is_empty())
}

impl Conversation {
    /// Whether all of the assistant's messages (with `last`, its last one) are empty, and there is one.
    pub fn has_empty_answers(&self, last: bool) -> bool {
        let mut answers = self
            .messages
            .iter()
            .filter(|message| role(message) == "assistant");
        answers.next_back().is_some_and(is_silent) && (last || answers.all(is_silent))
    }
}
