//! Messages of requests, read like rows of a data set.

use smollm3_chat::{ChatError, Conversation};

use crate::wire::{ChatRequest, Checked, Refusal};

/// The conversation of a request.
pub(crate) fn conversation(request: &ChatRequest) -> Checked<Conversation> {
    let ChatRequest {
        messages,
        tools,
        template_kwargs,
        ..
    } = request;
    let read = Conversation::of_messages(messages.clone(), tools.clone(), template_kwargs.clone());
    read.map_err(|error| refused(&error))
}

/// Refuses a conversation by the field at fault.
pub(crate) fn refused(error: &ChatError) -> Refusal {
    let field = match error {
        ChatError::Tool { .. } => "tools",
        ChatError::Row { .. } => "chat_template_kwargs",
        ChatError::Unseen { dropped, .. } => dropped.key.split(['[', '.']).next().unwrap_or("messages"),
        _ => "messages",
    };
    Refusal::field(field, format!("cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};
    use smollm3_chat::{Render, Template};
    use smollm3_model::Sampling;

    use super::*;
    use crate::wire::Fields;

    fn read(messages: Value) -> Checked<Conversation> {
        let body = json!({ "messages": messages }).to_string();
        let fields = Fields::parse(body.as_bytes()).unwrap();
        conversation(&ChatRequest::read(fields, &Sampling::default()).unwrap())
    }

    #[test]
    fn messages_are_read_as_rows_are() {
        let parts = json!([
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
            {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}},
            ]},
        ]);
        let talk = read(parts).ok().unwrap();
        assert_eq!(talk.messages[0]["content"], "Be kind.");
        assert_eq!(
            talk.messages[1]["tool_calls"][0]["function"]["arguments"],
            json!({"a": 1})
        );
        assert!(talk.messages[1].get("refusal").is_none());
        assert_eq!(talk.template_kwargs, Map::new());
        let text = Template::chatml().render(&talk, &Render::default());
        assert!(text.is_err(), "it knows no calls");

        for wrong in [
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
            json!([{"role": "assistant", "tool_calls": [{"function": {}}]}]),
        ] {
            assert!(read(wrong).is_err());
        }
    }
}
