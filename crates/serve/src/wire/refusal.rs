//! Errors of requests, as OpenAI's error object.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Json;

/// The result of reading a request.
pub type Checked<T> = Result<T, Refusal>;

/// Why a request is refused or fails.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    message: String,
    /// The field at fault.
    param: Option<String>,
    code: Option<&'static str>,
}

impl Refusal {
    /// A refusal not due to a field.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// A field is wrong; `problem` continues after its name.
    pub fn field(name: &str, problem: impl std::fmt::Display) -> Self {
        Self {
            param: Some(name.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, format!("`{name}` {problem}"))
        }
    }

    /// A request for another model.
    pub fn no_such_model(asked: &str, served: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: Some("model_not_found"),
            ..Self::field(
                "model",
                format!("is `{asked}`, which is not served here; write `{served}`"),
            )
        }
    }

    /// The queue is full.
    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests are waiting; try again in a moment",
        )
    }

    /// The server is stopping.
    pub fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
    }

    /// The server failed.
    pub fn internal(problem: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, problem)
    }

    /// The error object.
    pub fn body(&self) -> Value {
        let kind = match self.status.is_server_error() {
            true => "server_error",
            false => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}
