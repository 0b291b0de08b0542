//! `/v1/chat/completions`.

use serde::Serialize;
use serde_json::{Map, Value, json};
use smollm3_model::Sampling;

use super::completion::is_text;
use super::{Checked, Fields, FinishReason, Options, Refusal};

/// A request. Messages and tools stay JSON, since a template may read any key of them.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    pub model: Option<String>,
    pub messages: Vec<Value>,
    /// `None` if `tool_choice` is `none`.
    pub tools: Option<Vec<Value>>,
    /// Variables for the template, such as `enable_thinking`.
    pub template_kwargs: Map<String, Value>,
    pub options: Options,
}

impl ChatRequest {
    /// Reads a request; `defaults` has the default sampling.
    ///
    /// # Errors
    /// A field is missing, wrong, unknown, or asks for something unsupported.
    pub fn read(mut fields: Fields, defaults: &Sampling) -> Checked<Self> {
        let expected = "a list of objects with `role` and `content`";
        let Some(messages) = fields.take("messages", expected)? else {
            return Err(Refusal::field("messages", format!("is missing; give {expected}")));
        };
        let mut options = Options::read(&mut fields, defaults)?;
        let newer = fields.count("max_completion_tokens", 1..=usize::MAX)?;
        if options.max_tokens == Some(0) {
            return Err(Refusal::field("max_tokens", "is 0; an answer has at least 1"));
        }
        if let (Some(newer), Some(older)) = (newer, options.max_tokens)
            && newer != older
        {
            let problem = format!("is {newer}, but `max_tokens` is {older}; give one of them");
            return Err(Refusal::field("max_completion_tokens", problem));
        }
        options.max_tokens = newer.or(options.max_tokens);
        for name in ["logprobs", "top_logprobs"] {
            let asks_nothing = |value: &Value| *value == Value::Bool(false) || value.as_u64() == Some(0);
            fields.refuse(
                name,
                "is not supported for chats; use /v1/completions",
                asks_nothing,
            )?;
        }
        fields.unsupported("response_format", is_text)?;
        fields.unsupported("parallel_tool_calls", |parallel| *parallel == Value::Bool(true))?;
        fields.unsupported("modalities", |modalities| *modalities == json!(["text"]))?;
        fields.unsupported("verbosity", |verbosity| verbosity == "medium")?;
        let older = "is an older form; write `tools` and `tool_choice`";
        let is_empty = |functions: &Value| functions.as_array().is_some_and(Vec::is_empty);
        fields.refuse("functions", older, is_empty)?;
        fields.refuse("function_call", older, |choice| {
            choice == "auto" || choice == "none"
        })?;
        let thinking =
            "is not known here; write \"chat_template_kwargs\": {\"enable_thinking\": true} or false";
        fields.refuse("reasoning_effort", thinking, |_| false)?;
        let may_call = may_call(&mut fields)?;
        let tools = fields.take::<Vec<Value>>("tools", "a list of functions")?;
        let request = Self {
            model: fields.take("model", "a text")?,
            messages,
            tools: tools.filter(|tools| may_call && !tools.is_empty()),
            template_kwargs: fields
                .take(
                    "chat_template_kwargs",
                    "an object such as {\"enable_thinking\": false}",
                )?
                .unwrap_or_default(),
            options,
        };
        fields.finish()?;
        Ok(request)
    }
}

fn may_call(fields: &mut Fields) -> Checked<bool> {
    let expected = "`auto` or `none`; calls cannot be forced here";
    let choice = fields.take::<String>("tool_choice", expected)?;
    match choice.as_deref() {
        None | Some("auto") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => Err(Refusal::field(
            "tool_choice",
            format!("is `{other}`; it must be {expected}"),
        )),
    }
}

/// A whole answer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatChoice {
    pub index: usize,
    pub message: ChatMessage,
    /// Always `null`.
    pub logprobs: Option<()>,
    pub finish_reason: Option<FinishReason>,
}

/// The assistant's message.
#[derive(Debug, Clone, Serialize)]
pub struct ChatMessage {
    /// `assistant`.
    pub role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// `null` if there is nothing but thought and calls.
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

impl Default for ChatMessage {
    fn default() -> Self {
        Self {
            role: "assistant",
            reasoning_content: None,
            content: None,
            tool_calls: Vec::new(),
        }
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatPiece {
    pub index: usize,
    pub delta: ChatDelta,
    /// `null` until it has ended.
    pub finish_reason: Option<FinishReason>,
}

/// An addition to a message.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatDelta {
    /// `assistant`, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Complete calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

impl ChatChoice {
    /// Adds the next piece.
    pub fn extend(&mut self, piece: ChatPiece) {
        let add = |to: &mut Option<String>, more: Option<String>| {
            if let Some(more) = more {
                to.get_or_insert_default().push_str(&more);
            }
        };
        add(&mut self.message.reasoning_content, piece.delta.reasoning_content);
        add(&mut self.message.content, piece.delta.content);
        let calls = piece.delta.tool_calls.into_iter();
        let calls = calls.map(|call| ToolCall { index: None, ..call });
        self.message.tool_calls.extend(calls);
        self.finish_reason = piece.finish_reason.or(self.finish_reason);
    }
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// Its number in the answer; in streams only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The id that its result refers to.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub function: FunctionCall,
}

/// A function and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionCall {
    pub name: String,
    /// A JSON object as text.
    pub arguments: String,
}
