//! Why a request is not served, as OpenAI's error object.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Json;

/// What was read of a request, or why it is not served.
pub type Checked<T> = Result<T, Refusal>;

/// A request that is not served.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    message: String,
    /// The field at fault.
    param: Option<String>,
    code: Option<&'static str>,
}

impl Refusal {
    /// A refusal that is no field's fault.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// A field that is wrong: `problem` goes on after its name.
    pub fn field(name: &str, problem: impl std::fmt::Display) -> Self {
        Self {
            param: Some(name.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, format!("`{name}` {problem}"))
        }
    }

    /// Another model than the one that is served.
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

    /// Too many requests at once.
    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests are waiting; ask again in a moment",
        )
    }

    /// The server ends.
    pub fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
    }

    /// The request was in order, the server was not.
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
