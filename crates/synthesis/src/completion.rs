//! What a server says: a chat completion, or why there is none.
//!
//! Refusals are told apart by what can be done about them: wait, leave the prompt out, or give up.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::with_thought;
use crate::{Answer, Finish};

/// Characters of a server's words that are shown.
const SHOWN: usize = 400;

/// Why a request failed.
pub(crate) enum Fault {
    /// It may pass; with the wait the server asked for.
    Passing(String, Option<Duration>),
    /// This prompt cannot be asked.
    Prompt(String),
    /// Nothing can be asked.
    Lasting(String),
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    /// The thought, as vLLM and SGLang name it.
    #[serde(default)]
    reasoning_content: Option<String>,
    /// The thought, as newer vLLM and OpenRouter name it.
    #[serde(default)]
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: u64,
}

/// A server's good answer.
pub(crate) fn read(body: &[u8]) -> Result<Answer, Fault> {
    let completion: Completion = serde_json::from_slice(body).map_err(|error| {
        let words = words(body);
        Fault::Passing(
            format!("what came is no chat completion ({error}): {words}"),
            None,
        )
    })?;
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(Fault::Passing("an answer without choices came".to_owned(), None));
    };
    let Message {
        content,
        reasoning_content,
        reasoning,
    } = choice.message;
    let thought = reasoning_content.or(reasoning);
    let finish = match choice.finish_reason.as_deref() {
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Refused,
        _ => Finish::Stop,
    };
    Ok(Answer {
        text: with_thought(thought.as_deref(), content.as_deref().unwrap_or_default()),
        finish,
        tokens: completion.usage.map_or(0, |usage| usage.completion_tokens),
    })
}

/// What a refusal means.
pub(crate) fn fault(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Fault {
    let said = format!("the server answered {status}: {}", words(body));
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Fault::Prompt(said)
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Fault::Passing(said, wait),
        status if status.is_server_error() => Fault::Passing(said, wait),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Fault::Lasting(format!(
            "{said}; name the environment variable that holds its key by --key-env (--strong-key-env, --weak-key-env)"
        )),
        StatusCode::NOT_FOUND => Fault::Lasting(format!(
            "{said}; the address ends in /v1, and behind the # stands the name that the server gives the model"
        )),
        _ => Fault::Lasting(said),
    }
}

/// What a server says in its error, or the beginning of what it sent.
fn words(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok().and_then(|body| {
        let error = body.get("error").unwrap_or(&body);
        let message = error.get("message").or(body.get("detail")).unwrap_or(error);
        Some(message.as_str()?.to_owned())
    });
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let line: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// A connection that failed. The address is in the message's frame already.
pub(crate) fn broken(error: reqwest::Error) -> Fault {
    if error.is_builder() {
        return Fault::Lasting(error.without_url().to_string());
    }
    let error = error.without_url();
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    Fault::Passing(message, None)
}
