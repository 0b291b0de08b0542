//! OpenAI's interface as it goes over the wire: what requests may say, what responses look like.
//!
//! Requests are read field by field rather than derived: each value is checked where it is read, so that a refusal names
//! the field and what to write, and what is left over afterwards is a field that would be silently ignored otherwise.
//! Source: the reference of OpenAI's API (`platform.openai.com/docs/api-reference`), completions and chat; `top_k`,
//! `min_p`, `repetition_penalty`, `chat_template_kwargs` and `reasoning_content` are vLLM's additions to it.

mod chat;
mod completion;
mod fields;
mod options;
mod refusal;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use smollm3_inference::End;

pub use chat::{ChatChoice, ChatCompletion, ChatDelta, ChatPiece, ChatRequest, FunctionCall, ToolCall};
pub use completion::{Completion, CompletionChoice, CompletionRequest, Logprobs, Prompts};
pub use fields::Fields;
pub use options::Options;
pub use refusal::{Checked, Refusal};

/// A response in JSON. Not axum's own, which turns on a feature of `serde_json` for which Burn would be compiled once more.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => {
                let kind = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, kind)], json).into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

/// What a request cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens of all continuations, those that ended them included.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
}

impl Usage {
    /// The sum with its parts.
    pub fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its text, or wrote a stop text.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// It calls tools.
    ToolCalls,
}

impl From<End> for FinishReason {
    fn from(end: End) -> Self {
        match end {
            End::Stop => Self::Stop,
            End::Length => Self::Length,
        }
    }
}

/// `/v1/models`.
#[derive(Debug, Serialize)]
pub struct Models<'a> {
    /// `list`.
    pub object: &'static str,
    /// The one that is served.
    pub data: [Model<'a>; 1],
}

/// A model.
#[derive(Debug, Serialize)]
pub struct Model<'a> {
    /// What requests call it.
    pub id: &'a str,
    /// `model`.
    pub object: &'static str,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// Whose it is.
    pub owned_by: &'static str,
    /// Tokens of its context.
    pub max_model_len: usize,
}
