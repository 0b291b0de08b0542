//! The requests and responses of OpenAI's API.
//!
//! Requests are read field by field rather than by a derive: each value is checked where it is read, so that a refusal names
//! the field and what to write, and fields left over are refused instead of silently ignored.
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

pub use chat::{ChatChoice, ChatDelta, ChatPiece, ChatRequest, FunctionCall, ToolCall};
pub use completion::{CompletionChoice, CompletionRequest, Logprobs, Prompts};
pub use fields::Fields;
pub use options::Options;
pub use refusal::{Checked, Refusal};

/// A response in JSON. axum's own enables a feature of `serde_json` with which Burn would be compiled again.
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

/// A response, or a chunk of a stream.
#[derive(Debug, Serialize)]
pub struct Envelope<'a, C> {
    pub id: &'a str,
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    pub model: &'a str,
    pub choices: Vec<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// The number of tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// New tokens, including the end tokens.
    pub completion_tokens: usize,
    pub total_tokens: usize,
}

impl Usage {
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
    /// An end token or a stop text.
    Stop,
    /// The maximum number of tokens.
    Length,
    /// Tool calls.
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
    pub data: [Model<'a>; 1],
}

/// A model.
#[derive(Debug, Serialize)]
pub struct Model<'a> {
    pub id: &'a str,
    /// `model`.
    pub object: &'static str,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    pub owned_by: &'static str,
    /// The context in tokens.
    pub max_model_len: usize,
}
