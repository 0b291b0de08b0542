//! Answers of an OpenAI-compatible server such as vLLM, from concurrent requests with retries.
//!
//! One request is one answer, with its own seed: a server that supports seeds repeats the answer. Answers are not streamed,
//! because no one watches; so a server that hangs is noticed only after the full timeout.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rand::RngExt;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect;
use serde_json::{Value, json};
use smollm3_corpus::remote::{self, RetryPolicy};
use url::Url;

use crate::completion::{Fault, fault, read};
use crate::prompt::Prompt;
use crate::worker::Worker;
use crate::{Answer, Result, SynthesisError};

/// How often the stop flag is checked.
const POLL: Duration = Duration::from_millis(100);

/// A secret that is sent to its endpoint only, and never shown.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// The key in the environment variable `name`.
    ///
    /// # Errors
    /// It is not set.
    pub fn from_env(name: &str) -> Result<Self> {
        match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Ok(Self(key.trim().to_owned())),
            _ => Err(SynthesisError::Refused(format!(
                "the environment variable {name} for the key is not set"
            ))),
        }
    }

    fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Timeout and retries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Timeout of one answer.
    pub timeout: Duration,
    /// Number of attempts, and the waits between them.
    pub retry: RetryPolicy,
}

/// A model of a server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address, including `/v1`.
    pub url: Url,
    /// The server's name for the model.
    pub model: String,
    /// Maximum number of concurrent requests.
    pub concurrency: usize,
    key: Option<Key>,
    patience: Patience,
    http: reqwest::Client,
}

impl Endpoint {
    /// Reads `http://host:port/v1#MODEL`.
    ///
    /// # Errors
    /// It is not such an address, it contains a password, or HTTP cannot be set up.
    pub fn new(address: &str, key: Option<Key>, concurrency: usize, patience: Patience) -> Result<Self> {
        let refused = |problem: String| {
            SynthesisError::Refused(format!("{problem}; write it as http://localhost:8000/v1#MODEL"))
        };
        let parts = address
            .split_once('#')
            .filter(|(_, model)| !model.trim().is_empty());
        let Some((base, model)) = parts else {
            return Err(refused(format!("`{address}` names no model of the endpoint")));
        };
        let url =
            Url::parse(base).map_err(|error| refused(format!("`{base}` is not an address ({error})")))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            // Not shown: it may be the secret.
            return Err(refused(
                "the address of an endpoint has a user name or a query; keys come from environment variables"
                    .to_owned(),
            ));
        }
        // Fails only if another part of the program has chosen a provider, which then stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("smollm3/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.retry.stall)
            .timeout(patience.timeout)
            // Sends the key to no other address.
            .redirect(redirect::Policy::none())
            .build();
        Ok(Self {
            http: http.map_err(|error| SynthesisError::Endpoint {
                address: url.to_string(),
                problem: format!("cannot set up HTTP: {error}"),
            })?,
            url,
            model: model.trim().to_owned(),
            concurrency: concurrency.max(1),
            key,
            patience,
        })
    }

    pub(crate) fn answer(&self, worker: &Worker<'_>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failed(format!("cannot wait for answers: {error}")))?;
        let missing = worker.prompts.iter().flat_map(|prompt| match prompt {
            Err(error) => vec![Err(error)],
            Ok(prompt) => (0..worker.samples)
                .filter(|sample| !worker.is_done(&prompt, *sample))
                .map(|sample| Ok((prompt.clone(), sample)))
                .collect(),
        });
        runtime.block_on(async {
            let asked = stream::iter(missing).map(|missing| async move {
                let (prompt, sample) = missing?;
                let answer = self.ask(&prompt, sample, worker).await;
                answer.map(|answer| (prompt, sample, answer))
            });
            let mut answers = std::pin::pin!(asked.buffer_unordered(self.concurrency));
            while !worker.halted() {
                match tokio::time::timeout(POLL, answers.next()).await {
                    // Nothing yet; requests in flight continue.
                    Err(_) => {}
                    Ok(None) => return Ok(()),
                    Ok(Some(found)) => {
                        let (prompt, sample, answer) = found?;
                        worker.send(&prompt, sample, answer)?;
                    }
                }
            }
            Err(SynthesisError::Interrupted)
        })
    }

    async fn ask(&self, prompt: &Prompt, sample: u32, worker: &Worker<'_>) -> Result<Answer> {
        let stream = worker.place(prompt, sample).stream();
        // 31 bits: servers disagree on the sign of larger numbers.
        let seed = worker.sampling.rng(stream).random::<u32>() >> 1;
        let body = self.body(prompt, worker, seed).to_string();
        let mut failures = 0;
        loop {
            let fault = match self.request(body.clone()).await {
                Ok(answer) => {
                    worker.tokens.fetch_add(answer.tokens, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(fault) => fault,
            };
            let (message, wait) = match fault {
                Fault::Prompt(message) => return worker.refused(prompt, self.without_key(message)),
                Fault::Request(remote::Fault::Lasting(message)) => return Err(self.failed(message)),
                Fault::Request(remote::Fault::Passing(message, wait)) => (message, wait),
                Fault::Request(remote::Fault::Unreachable(message)) => (message, None),
            };
            failures += 1;
            if failures >= self.patience.retry.attempts {
                return Err(self.failed(format!("{message}; given up after {failures} attempts in a row")));
            }
            let wait = self.patience.retry.wait(failures, wait);
            let message = self.without_key(message);
            let report = format!(
                "{}: {message}; waiting {wait:.1?} before the next attempt",
                self.url
            );
            // Many requests fail together, so the first failures are not worth a warning.
            match failures {
                0..=2 => tracing::debug!("{report}"),
                _ => tracing::warn!("{report}"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The request. Options that only some servers know are sent only if set.
    fn body(&self, prompt: &Prompt, worker: &Worker<'_>, seed: u32) -> Value {
        let sampling = worker.sampling;
        let mut body = json!({
            "model": self.model,
            "messages": prompt.conversation.messages,
            "max_tokens": worker.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
        });
        let kwargs = &prompt.conversation.template_kwargs;
        let further = [
            ("top_k", json!(sampling.top_k), sampling.top_k != 0),
            ("min_p", json!(sampling.min_p), sampling.min_p != 0.0),
            (
                "repetition_penalty",
                json!(sampling.repetition_penalty),
                sampling.repetition_penalty != 1.0,
            ),
            ("chat_template_kwargs", json!(kwargs), !kwargs.is_empty()),
        ];
        if let Value::Object(body) = &mut body {
            let wanted = further.into_iter().filter(|(_, _, wanted)| *wanted);
            body.extend(wanted.map(|(key, value, _)| (key.to_owned(), value)));
        }
        body
    }

    async fn request(&self, body: String) -> Result<Answer, Fault> {
        let address = format!("{}/chat/completions", self.url.as_str().trim_end_matches('/'));
        let mut request = self.http.post(address).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            let problem = "the key has characters that a request cannot carry";
            let unusable = || remote::Fault::Lasting(problem.to_owned());
            request = request.header(AUTHORIZATION, key.header().ok_or_else(unusable)?);
        }
        let response = request.body(body).send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await?;
        match status.is_success() {
            true => read(&body),
            false => Err(fault(status, &headers, &body)),
        }
    }

    fn failed(&self, problem: String) -> SynthesisError {
        SynthesisError::Endpoint {
            address: self.url.to_string(),
            problem: self.without_key(problem),
        }
    }

    /// Removes the key from a message: some servers repeat a key that they refuse.
    fn without_key(&self, message: String) -> String {
        match &self.key {
            Some(Key(key)) => message.replace(key.as_str(), "…"),
            None => message,
        }
    }
}
