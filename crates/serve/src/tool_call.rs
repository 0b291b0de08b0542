//! Tool calls as the model writes them: `{"name": …, "arguments": {…}}` between two tags, or with Llama 3's `parameters`.
//!
//! Arguments are passed on as they are written: parsed and printed again, long numbers would be others.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
pub(crate) use smollm3_chat::fit::{END_TOOL_CALL as CLOSE, TOOL_CALL as OPEN};

use crate::wire::{FunctionCall, ToolCall};

/// Parses the text between the tags; `None` if it is not a call.
pub(crate) fn parse(body: &str, index: usize) -> Option<ToolCall> {
    let call: BTreeMap<String, &RawValue> = serde_json::from_str(body.trim()).ok()?;
    let part = |key: &str| {
        call.get(key)
            .map(|value| value.get())
            .filter(|value| *value != "null")
    };
    let arguments = match (part("arguments"), part("parameters")) {
        (Some(arguments), None) | (None, Some(arguments)) => object(arguments)?,
        // What other keys mean is not known.
        (None, None) if call.keys().all(|key| PARTS.contains(&key.as_str())) => "{}".to_owned(),
        _ => return None,
    };
    Some(ToolCall {
        index: Some(index),
        id: format!("call_{:016x}", rand::random::<u64>()),
        kind: "function",
        function: FunctionCall {
            name: serde_json::from_str(part("name")?).ok()?,
            arguments,
        },
    })
}

/// Keys that a call without arguments may have.
const PARTS: [&str; 5] = ["name", "arguments", "parameters", "id", "type"];

/// The text of an object, which may itself be written as text: clients parse it and send it back.
fn object(written: &str) -> Option<String> {
    let text = serde_json::from_str(written).unwrap_or_else(|_| written.to_owned());
    let is_object = serde_json::from_str::<Map<String, Value>>(&text).is_ok();
    is_object.then_some(text)
}
