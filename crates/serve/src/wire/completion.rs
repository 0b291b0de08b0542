//! `/v1/completions`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smollm3_model::Sampling;

use super::{Checked, Fields, FinishReason, Options, Refusal};

/// The prompts of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompts {
    Texts(Vec<String>),
    /// Token ids of each.
    Tokens(Vec<Vec<u32>>),
}

/// A request.
#[derive(Debug, Clone)]
pub struct CompletionRequest {
    pub model: Option<String>,
    pub prompts: Prompts,
    /// Whether the prompt precedes its continuation.
    pub echo: bool,
    /// Log-probabilities, with this many of the most probable tokens.
    pub logprobs: Option<usize>,
    pub options: Options,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    ManyTokens(Vec<Vec<u32>>),
}

impl CompletionRequest {
    /// Reads a request; `defaults` has the default sampling.
    ///
    /// # Errors
    /// A field is missing, wrong, unknown, or asks for something unsupported.
    pub fn read(mut fields: Fields, defaults: &Sampling) -> Checked<Self> {
        let expected = "a text, a list of texts, a list of token ids, or a list of such lists";
        let prompts = match fields.take("prompt", expected)? {
            None => return Err(Refusal::field("prompt", format!("is missing; give {expected}"))),
            Some(Prompt::Text(text)) => Prompts::Texts(vec![text]),
            Some(Prompt::Texts(texts)) => Prompts::Texts(texts),
            Some(Prompt::Tokens(tokens)) => Prompts::Tokens(vec![tokens]),
            Some(Prompt::ManyTokens(tokens)) => Prompts::Tokens(tokens),
        };
        let options = Options::read(&mut fields, defaults)?;
        let n = options.n as u64;
        fields.unsupported("best_of", |best_of| best_of.as_u64() == Some(n))?;
        fields.unsupported("suffix", |suffix| suffix.as_str() == Some(""))?;
        fields.unsupported("response_format", is_text)?;
        let request = Self {
            model: fields.take("model", "a text")?,
            prompts,
            echo: fields.flag("echo")?,
            logprobs: fields.count("logprobs", 0..=5)?,
            options,
        };
        fields.finish()?;
        Ok(request)
    }
}

/// Whether a `response_format` asks for plain text.
pub(super) fn is_text(format: &Value) -> bool {
    format.get("type").and_then(Value::as_str) == Some("text")
}

/// A continuation, or a piece of one.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CompletionChoice {
    pub text: String,
    /// Number of the row: `n` for each prompt.
    pub index: usize,
    pub logprobs: Option<Logprobs>,
    /// `null` until it has ended.
    pub finish_reason: Option<FinishReason>,
}

/// Log-probabilities of tokens, in lists of equal length.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Logprobs {
    pub tokens: Vec<String>,
    /// ln p; `null` for the first token of a prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The most probable tokens, and the actual one.
    pub top_logprobs: Vec<Option<IndexMap<String, f32>>>,
    /// Offsets in the text, in characters.
    pub text_offset: Vec<usize>,
}

impl CompletionChoice {
    /// Adds the next piece.
    pub fn extend(&mut self, piece: Self) {
        self.text.push_str(&piece.text);
        self.finish_reason = piece.finish_reason.or(self.finish_reason);
        if let Some(more) = piece.logprobs {
            let all = self.logprobs.get_or_insert_default();
            all.tokens.extend(more.tokens);
            all.token_logprobs.extend(more.token_logprobs);
            all.top_logprobs.extend(more.top_logprobs);
            all.text_offset.extend(more.text_offset);
        }
    }
}
