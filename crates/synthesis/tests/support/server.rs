//! A server of chat completions on 127.0.0.1 that can misbehave.

#[path = "../../../corpus/tests/corpus/server.rs"]
mod http;

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Value,
}

impl From<&http::Request> for Request {
    fn from(request: &http::Request) -> Self {
        Self {
            path: request.path.clone(),
            headers: request.headers.clone(),
            body: serde_json::from_slice(&request.body).unwrap_or_default(),
        }
    }
}

impl Request {
    /// The last words of the user.
    pub fn said(&self) -> String {
        let messages = self.body["messages"].as_array().unwrap();
        messages.last().unwrap()["content"].as_str().unwrap().to_owned()
    }
}

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    pub after: Duration,
}

impl Reply {
    pub fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
            after: Duration::ZERO,
        }
    }

    pub fn answer(content: &str) -> Self {
        Self::message(json!({"role": "assistant", "content": content}), "stop")
    }

    pub fn message(message: Value, finish: &str) -> Self {
        let body = json!({
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7},
        });
        Self::text(200, &body.to_string())
    }

    /// A function of the whole request.
    pub fn of_everything(request: &Request) -> Self {
        let hash = blake3::hash(request.body.to_string().as_bytes()).to_hex();
        Self::answer(&format!("{} {}", request.said(), &hash[..8]))
    }

    pub fn after(mut self, wait: Duration) -> Self {
        self.after = wait;
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl From<Reply> for http::Answer {
    fn from(reply: Reply) -> Self {
        let answer = Self {
            body: reply.body.into_bytes(),
            ..Self::status(reply.status)
        };
        let headers = reply.headers.into_iter();
        headers.fold(answer, |answer, (name, value)| answer.header(name, value))
    }
}

/// Serves until the process ends.
pub struct Server {
    pub address: String,
    http: http::Server,
}

impl Server {
    /// `handler` gets each request and how many came before it.
    pub fn start(handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let http = http::Server::start(move |request, before| {
            let reply = handler(&Request::from(request), before);
            thread::sleep(reply.after);
            reply.into()
        });
        Self {
            address: http.address.clone(),
            http,
        }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.http.requests().iter().map(Request::from).collect()
    }
}
