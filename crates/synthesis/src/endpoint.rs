//! An OpenAI-compatible server that answers, such as vLLM: many requests at once, each asked again where it may help.
//!
//! One request is one answer, with a seed of its own: a server that heeds seeds gives the same answer again. A plain
//! answer is waited for rather than a stream of pieces, because nobody watches; so a server that hangs is noticed only
//! after the whole time allowed.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rand::RngExt;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect;
use serde_json::{Value, json};
use smollm3_corpus::remote::RetryPolicy;
use url::Url;

use crate::completion::{Fault, broken, fault, read};
use crate::prompt::Prompt;
use crate::work::Work;
use crate::{Answer, Result, SynthesisError};

/// How often it is looked whether to stop.
const POLL: Duration = Duration::from_millis(100);

/// A secret that is sent to its endpoint and shown to nobody.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// The key in the environment variable `name`.
    ///
    /// # Errors
    /// It is not set, or is no text that a request can carry.
    pub fn from_env(name: &str) -> Result<Self> {
        match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Ok(Self(key.trim().to_owned())),
            _ => Err(SynthesisError::Refused(format!(
                "the environment variable {name}, which is to hold the key, is not set"
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

/// How long a server is waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// For one answer.
    pub timeout: Duration,
    /// Between attempts, and how many there are.
    pub retry: RetryPolicy,
}

/// A model behind an address.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address, up to and with its `/v1`.
    pub url: Url,
    /// The model's name there.
    pub model: String,
    /// Requests at once.
    pub concurrency: usize,
    key: Option<Key>,
    patience: Patience,
    http: reqwest::Client,
}

impl Endpoint {
    /// Reads `http://host:port/v1#MODEL`.
    ///
    /// # Errors
    /// It is no such address, it holds a password, or HTTP cannot be set up.
    pub fn new(address: &str, key: Option<Key>, concurrency: usize, patience: Patience) -> Result<Self> {
        let refused = |problem: String| {
            SynthesisError::Refused(format!("{problem}; write it as http://localhost:8000/v1#MODEL"))
        };
        let Some((base, model)) = address
            .split_once('#')
            .filter(|(_, model)| !model.trim().is_empty())
        else {
            return Err(refused(format!(
                "`{address}` does not name a model of the endpoint"
            )));
        };
        let url = Url::parse(base).map_err(|error| refused(format!("`{base}` is no address ({error})")))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            // Not repeated here: it may be the secret.
            return Err(refused(
                "the address of an endpoint holds a user name or a query; keys come from environment variables".to_owned(),
            ));
        }
        // Fails only when another part of the program chose a provider before: then that one holds.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("smollm3/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.retry.stall)
            .timeout(patience.timeout)
            // A key goes nowhere but where it was meant to go.
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

    pub(crate) fn answer(&self, work: &Work<'_>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failed(format!("cannot wait for answers: {error}")))?;
        let missing = work.prompts.iter().flat_map(|prompt| match prompt {
            Err(error) => vec![Err(error)],
            Ok(prompt) => (0..work.samples)
                .filter(|sample| !work.is_done(&prompt, *sample))
                .map(|sample| Ok((prompt.clone(), sample)))
                .collect(),
        });
        runtime.block_on(async {
            let asked = stream::iter(missing).map(|missing| async move {
                let (prompt, sample) = missing?;
                let answer = self.ask(&prompt, sample, work).await;
                answer.map(|answer| (prompt, sample, answer))
            });
            let mut answers = std::pin::pin!(asked.buffer_unordered(self.concurrency));
            while !work.halted() {
                match tokio::time::timeout(POLL, answers.next()).await {
                    // Nothing yet; those under way go on.
                    Err(_) => {}
                    Ok(None) => return Ok(()),
                    Ok(Some(found)) => {
                        let (prompt, sample, answer) = found?;
                        work.send(&prompt, sample, answer)?;
                    }
                }
            }
            Err(SynthesisError::Interrupted)
        })
    }

    async fn ask(&self, prompt: &Prompt, sample: u32, work: &Work<'_>) -> Result<Answer> {
        let stream = work.place(prompt, sample).stream();
        // 31 bits: servers disagree about the sign of more.
        let seed = work.sampling.rng(stream).random::<u32>() >> 1;
        let body = self.body(prompt, work, seed).to_string();
        let mut failures = 0;
        loop {
            let fault = match self.request(body.clone()).await {
                Ok(answer) => {
                    work.tokens.fetch_add(answer.tokens, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(fault) => fault,
            };
            let (message, wait) = match fault {
                Fault::Prompt(message) => return work.refused(prompt, self.without_key(message)),
                Fault::Lasting(message) => return Err(self.failed(message)),
                Fault::Passing(message, wait) => (message, wait),
            };
            failures += 1;
            if failures >= self.patience.retry.attempts {
                return Err(self.failed(format!("{message}; given up after {failures} attempts in a row")));
            }
            let wait = self.patience.retry.wait(failures, wait);
            let message = self.without_key(message);
            // Many requests fail together: the first few times are nobody's concern.
            match failures {
                0..=2 => {
                    tracing::debug!(endpoint = %self.url, message, ?wait, "waiting before the next attempt")
                }
                _ => tracing::warn!(endpoint = %self.url, message, ?wait, "waiting before the next attempt"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The request: what every server knows, and what only some know where it is asked for.
    fn body(&self, prompt: &Prompt, work: &Work<'_>, seed: u32) -> Value {
        let sampling = work.sampling;
        let mut body = json!({
            "model": self.model,
            "messages": prompt.conversation.messages,
            "max_tokens": work.max_new_tokens,
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
            let unusable = || Fault::Lasting("the key holds characters that no request can carry".to_owned());
            request = request.header(AUTHORIZATION, key.header().ok_or_else(unusable)?);
        }
        let response = request.body(body).send().await.map_err(broken)?;
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        let body = response.bytes().await.map_err(broken)?;
        match status.is_success() {
            true => read(&body),
            false => Err(fault(status, wait.map(Duration::from_secs), &body)),
        }
    }

    fn failed(&self, problem: String) -> SynthesisError {
        SynthesisError::Endpoint {
            address: self.url.to_string(),
            problem: self.without_key(problem),
        }
    }

    /// Some servers repeat the key that they refuse.
    fn without_key(&self, message: String) -> String {
        match &self.key {
            Some(Key(key)) => message.replace(key.as_str(), "…"),
            None => message,
        }
    }
}
