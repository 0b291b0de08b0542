//! The answer of a server: a chat completion, or an error.
//!
//! Errors are classified by what to do: retry, leave the prompt out, or give up.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use smollm3_corpus::remote;

use crate::answer::with_thought;
use crate::{Answer, Finish};

/// Maximum number of characters shown of a server's message.
const SHOWN: usize = 400;

/// Why a request failed.
pub(crate) enum Fault {
    /// The prompt cannot be processed.
    Prompt(String),
    /// Any other reason.
    Request(remote::Fault),
}

impl From<remote::Fault> for Fault {
    fn from(fault: remote::Fault) -> Self {
        Self::Request(fault)
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        Self::Request(error.into())
    }
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

/// Reads a successful answer.
pub(crate) fn read(body: &[u8]) -> Result<Answer, Fault> {
    let unusable = |problem: String| remote::Fault::Passing(problem, None);
    let completion: Completion = serde_json::from_slice(body).map_err(|error| {
        unusable(format!(
            "the answer is not a chat completion ({error}): {}",
            words(body)
        ))
    })?;
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(unusable("the answer has no choices".to_owned()).into());
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

/// Interprets an HTTP error.
pub(crate) fn fault(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Fault {
    let said = format!("the server answered {status}: {}", words(body));
    let said = match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            return Fault::Prompt(said);
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
            "{said}; name the environment variable with its key by --key-env (--strong-key-env, --weak-key-env)"
        ),
        StatusCode::NOT_FOUND => {
            format!("{said}; the address must end in /v1, followed by # and the server's name for the model")
        }
        _ => said,
    };
    remote::Fault::of_status(said, status, headers).into()
}

/// The message of a server's error, or the beginning of the body.
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
