//! The options that completions and chats have in common.

use serde::Deserialize;
use serde_json::{Map, Value};
use smollm3_model::Sampling;

use super::{Checked, Fields, Refusal};

/// Maximum number of stop texts.
const STOPS: usize = 32;

/// Options of both kinds of request.
#[derive(Debug, Clone)]
pub struct Options {
    pub max_tokens: Option<usize>,
    pub stop: Vec<String>,
    pub sampling: Sampling,
    /// Continuations of each prompt.
    pub n: usize,
    /// As server-sent events.
    pub stream: bool,
    /// Whether a stream ends with the usage.
    pub include_usage: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Options {
    /// Takes the options out of a request. `defaults` has the default sampling, except for the seed.
    ///
    /// # Errors
    /// A field has the wrong type, is out of range, or asks for something unsupported.
    pub fn read(fields: &mut Fields, defaults: &Sampling) -> Checked<Self> {
        let is_zero = |value: &Value| value.as_f64() == Some(0.0);
        fields.unsupported("frequency_penalty", is_zero)?;
        fields.unsupported("presence_penalty", is_zero)?;
        fields.unsupported("logit_bias", |bias| bias.as_object().is_some_and(Map::is_empty))?;
        let stream = fields.flag("stream")?;
        Ok(Self {
            max_tokens: fields.count("max_tokens", 0..=usize::MAX)?,
            stop: stop(fields)?,
            sampling: sampling(fields, defaults)?,
            n: fields.count("n", 1..=128)?.unwrap_or(1),
            stream,
            include_usage: include_usage(fields, stream)?,
        })
    }
}

fn sampling(fields: &mut Fields, defaults: &Sampling) -> Checked<Sampling> {
    // As in OpenAI's API, answers differ without a seed.
    let seed = fields.take::<i64>("seed", "a whole number of 64 bits")?;
    let top_k = fields.take::<i64>("top_k", "a whole number, 0 or -1 for all tokens")?;
    Ok(Sampling {
        temperature: fields
            .number("temperature", 0.0..=2.0)?
            .unwrap_or(defaults.temperature),
        top_k: top_k.map_or(defaults.top_k, |k| usize::try_from(k).unwrap_or(0)),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(defaults.top_p),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(defaults.min_p),
        repetition_penalty: fields
            .number("repetition_penalty", 0.01..=100.0)?
            .unwrap_or(defaults.repetition_penalty),
        seed: seed.map_or_else(rand::random, i64::cast_unsigned),
    })
}

fn stop(fields: &mut Fields) -> Checked<Vec<String>> {
    let stop = match fields.take("stop", "a text or a list of texts")? {
        None => Vec::new(),
        Some(OneOrMany::One(text)) => vec![text],
        Some(OneOrMany::Many(texts)) => texts,
    };
    if stop.len() > STOPS {
        let problem = format!("has {} texts; give at most {STOPS}", stop.len());
        return Err(Refusal::field("stop", problem));
    }
    if stop.iter().any(String::is_empty) {
        return Err(Refusal::field(
            "stop",
            "has an empty text, which would stop at once; leave it out",
        ));
    }
    Ok(stop)
}

fn include_usage(fields: &mut Fields, stream: bool) -> Checked<bool> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct StreamOptions {
        include_usage: Option<bool>,
    }
    let expected = "an object with `include_usage` and nothing else";
    // `false` asks for nothing: `include_obfuscation`, vLLM's `continuous_usage_stats`.
    fields.leave_out_of("stream_options", |value| {
        value.is_null() || *value == Value::Bool(false)
    });
    match fields.take::<StreamOptions>("stream_options", expected)? {
        Some(_) if !stream => Err(Refusal::field(
            "stream_options",
            "is about a stream; add `\"stream\": true` or leave it out",
        )),
        options => Ok(options.and_then(|options| options.include_usage).unwrap_or(false)),
    }
}
