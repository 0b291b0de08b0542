//! Tool calls as the model writes them: `{"name": …, "arguments": {…}}` between two tags.

use serde_json::{Map, Value};
pub(crate) use smollm3_chat::fit::{END_TOOL_CALL as CLOSE, TOOL_CALL as OPEN};

use crate::wire::{FunctionCall, ToolCall};

/// Parses the text between the tags; `None` if it is not a call.
pub(crate) fn parse(body: &str, index: usize) -> Option<ToolCall> {
    let mut call: Map<String, Value> = serde_json::from_str(body.trim()).ok()?;
    let arguments = match call.shift_remove("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        // It must be an object even if written as text: clients parse it and send it back.
        Some(Value::String(written)) if serde_json::from_str::<Map<String, Value>>(&written).is_ok() => {
            written
        }
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        Some(_) => return None,
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
