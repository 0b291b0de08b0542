//! Calls of functions as the model writes them: `{"name": …, "arguments": {…}}` between two tags.

use serde_json::{Map, Value, json};

use crate::wire::{FunctionCall, ToolCall};

/// Begins a call.
pub(crate) const OPEN: &str = "<tool_call>";
/// Ends a call.
pub(crate) const CLOSE: &str = "</tool_call>";

/// The call that stands between the tags; `None` if it is none.
pub(crate) fn parse(body: &str, index: usize) -> Option<ToolCall> {
    let mut call: Map<String, Value> = serde_json::from_str(body.trim()).ok()?;
    let arguments = match call.shift_remove("arguments") {
        None => "{}".to_owned(),
        Some(Value::String(written)) => written,
        Some(arguments) => arguments.to_string(),
    };
    Some(ToolCall {
        index: Some(index),
        id: format!("call_{:016x}", rand::random::<u64>()),
        kind: "function",
        function: FunctionCall {
            name: call.get("name")?.as_str()?.to_owned(),
            arguments,
        },
    })
}

/// A call in the form of OpenAI's messages, as the model writes it.
pub(crate) fn spell(name: &Value, arguments: &Value) -> String {
    let call = json!({"name": name, "arguments": arguments});
    format!("{OPEN}\n{call}\n{CLOSE}")
}
