//! Messages as OpenAI's clients write them, as chat templates read them.
//!
//! Templates for small models know text and nothing else: content in parts, a developer's message and calls of earlier
//! turns would be left out without a word. They are put into the form that the template has.

use serde_json::{Map, Value, json};
use smollm3_chat::{ChatError, Conversation, Template};

use crate::tool_call;
use crate::wire::{ChatRequest, Checked, Refusal};

/// The conversation of a request.
pub(crate) fn conversation(request: &ChatRequest, template: &Template) -> Checked<Conversation> {
    let spelt = !template.source().contains("tool_calls");
    let mut messages = request.messages.clone();
    for (index, message) in messages.iter_mut().enumerate() {
        if let Value::Object(message) = message {
            adapt(message, spelt).map_err(|problem| {
                Refusal::field("messages", format!("is wrong at message {index}: {problem}"))
            })?;
        }
    }
    let mut row = Map::new();
    row.insert("messages".to_owned(), Value::Array(messages));
    if let Some(tools) = &request.tools {
        row.insert("tools".to_owned(), json!(tools));
    }
    row.insert("chat_template_kwargs".to_owned(), json!(request.template_kwargs));
    Conversation::from_row(&Value::Object(row)).map_err(|error| {
        let field = match error {
            ChatError::Tool { .. } => "tools",
            ChatError::Row { .. } => "chat_template_kwargs",
            _ => "messages",
        };
        Refusal::field(field, format!("cannot be used: {error}"))
    })
}

/// Puts a message into the form of templates; `spelt` writes its calls into its content.
fn adapt(message: &mut Map<String, Value>, spelt: bool) -> Result<(), String> {
    if message.get("role").is_some_and(|role| role == "developer") {
        message.insert("role".to_owned(), json!("system"));
    }
    if let Some(Value::Array(parts)) = message.get("content") {
        let text = parts.iter().map(text).collect::<Option<Vec<_>>>();
        let text = text.ok_or("`content` must be a text, or parts of type `text`")?;
        message.insert("content".to_owned(), json!(text.concat()));
    }
    let Some(calls) = message.get("tool_calls").filter(|calls| !calls.is_null()) else {
        return Ok(());
    };
    let wrong = "`tool_calls` must be a list of objects with `function`, which has `name` and `arguments`";
    let calls = calls.as_array().ok_or(wrong)?;
    let calls: Vec<Value> = calls
        .iter()
        .map(|call| with_read_arguments(call).ok_or(wrong))
        .collect::<Result<_, _>>()?;
    if spelt {
        let said = message.get("content").and_then(Value::as_str).map(str::to_owned);
        let written = calls.iter().map(|call| {
            let function = call.get("function").unwrap_or(&Value::Null);
            let part = |name: &str| function.get(name).cloned().unwrap_or_default();
            tool_call::spell(&part("name"), &part("arguments"))
        });
        let parts = said.into_iter().filter(|said| !said.is_empty()).chain(written);
        message.insert("content".to_owned(), json!(parts.collect::<Vec<_>>().join("\n")));
    }
    message.insert("tool_calls".to_owned(), Value::Array(calls));
    Ok(())
}

fn text(part: &Value) -> Option<&str> {
    match part.get("type")?.as_str()? {
        "text" => part.get("text")?.as_str(),
        _ => None,
    }
}

/// A call whose arguments are JSON rather than JSON written out, as templates expect.
fn with_read_arguments(call: &Value) -> Option<Value> {
    let mut call = call.as_object()?.clone();
    let mut function = call.get("function")?.as_object()?.clone();
    function.get("name")?.as_str()?;
    if let Some(Value::String(written)) = function.get("arguments")
        && let Ok(arguments) = serde_json::from_str::<Map<String, Value>>(written)
    {
        function.insert("arguments".to_owned(), Value::Object(arguments));
    }
    call.insert("function".to_owned(), Value::Object(function));
    Some(Value::Object(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(message: Value, spelt: bool) -> Result<Value, String> {
        let mut message = message.as_object().unwrap().clone();
        adapt(&mut message, spelt).map(|()| Value::Object(message))
    }

    #[test]
    fn nothing_is_said_that_a_template_does_not_see() {
        let parts = json!({"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]});
        assert_eq!(
            adapted(parts, true),
            Ok(json!({"role": "system", "content": "Be kind."}))
        );
        let image = json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]});
        assert!(adapted(image, true).unwrap_err().contains("text"));

        let called = json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}},
        ]});
        let spelt = adapted(called.clone(), true).unwrap();
        assert_eq!(
            spelt["content"],
            "<tool_call>\n{\"name\":\"add\",\"arguments\":{\"a\":1}}\n</tool_call>"
        );
        let left = adapted(called, false).unwrap();
        assert_eq!(left["content"], Value::Null);
        assert_eq!(left["tool_calls"][0]["function"]["arguments"], json!({"a": 1}));
        let nameless = json!({"role": "assistant", "tool_calls": [{"function": {}}]});
        assert!(adapted(nameless, true).unwrap_err().contains("tool_calls"));
    }
}
