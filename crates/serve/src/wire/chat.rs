//! `/v1/chat/completions`.

use serde::Serialize;
use serde_json::{Map, Value, json};
use smollm3_model::Sampling;

use super::completion::is_text;
use super::{Checked, Fields, FinishReason, Options, Refusal, Usage};

/// A request. Messages and tools stay JSON, since a template may read any key of them.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The model it is meant for.
    pub model: Option<String>,
    /// The conversation so far.
    pub messages: Vec<Value>,
    /// Functions that may be called; none if `tool_choice` is `none`.
    pub tools: Option<Vec<Value>>,
    /// Further variables of the template, `enable_thinking` among them.
    pub template_kwargs: Map<String, Value>,
    /// The rest.
    pub options: Options,
}

impl ChatRequest {
    /// Reads a request; `defaults` say how tokens are chosen where it does not.
    ///
    /// # Errors
    /// A field is missing, wrong, unknown, or asks for something that is not done here.
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
        let logprobs = "is not given for chats; ask /v1/completions";
        for name in ["logprobs", "top_logprobs"] {
            let asks_nothing = |value: &Value| *value == Value::Bool(false) || value.as_u64() == Some(0);
            fields
                .unsupported(name, asks_nothing)
                .map_err(|_| Refusal::field(name, logprobs))?;
        }
        fields.unsupported("response_format", is_text)?;
        fields.unsupported("parallel_tool_calls", |parallel| *parallel == Value::Bool(true))?;
        fields.unsupported("modalities", |modalities| *modalities == json!(["text"]))?;
        fields.unsupported("verbosity", |verbosity| verbosity == "medium")?;
        let older = |name: &str| Refusal::field(name, "is an older form; write `tools` and `tool_choice`");
        let is_empty = |functions: &Value| functions.as_array().is_some_and(Vec::is_empty);
        fields
            .unsupported("functions", is_empty)
            .map_err(|_| older("functions"))?;
        let is_open = |choice: &Value| choice == "auto" || choice == "none";
        fields
            .unsupported("function_call", is_open)
            .map_err(|_| older("function_call"))?;
        let thinking =
            "is not known here; write \"chat_template_kwargs\": {\"enable_thinking\": true} or false";
        fields
            .unsupported("reasoning_effort", |_| false)
            .map_err(|_| Refusal::field("reasoning_effort", thinking))?;
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

/// A response, or a piece of one: `C` is [`ChatChoice`] or [`ChatPiece`].
#[derive(Debug, Serialize)]
pub struct ChatCompletion<'a, C> {
    /// Its name.
    pub id: &'a str,
    /// `chat.completion`, or `chat.completion.chunk`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: &'a str,
    /// The answers.
    pub choices: Vec<C>,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A whole answer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatChoice {
    /// Its place.
    pub index: usize,
    /// What was said.
    pub message: ChatMessage,
    /// Always `null`.
    pub logprobs: Option<()>,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
}

/// What the assistant says.
#[derive(Debug, Clone, Serialize)]
pub struct ChatMessage {
    /// `assistant`.
    pub role: &'static str,
    /// What it thought before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The answer; `null` if there is none beside thoughts and calls.
    pub content: Option<String>,
    /// The functions it calls.
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
    /// Whose.
    pub index: usize,
    /// What is new.
    pub delta: ChatDelta,
    /// Why it ended; `null` while it has not.
    pub finish_reason: Option<FinishReason>,
}

/// What a piece adds to a message.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatDelta {
    /// `assistant`, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// More of what it thinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// More of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Further calls, each whole.
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

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// Its place in the answer; said in pieces only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// What its result refers to.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is called.
    pub function: FunctionCall,
}

/// A function and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// A JSON object, written out.
    pub arguments: String,
}
