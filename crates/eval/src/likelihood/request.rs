//! A context and its continuation as tokens, cut where lm-evaluation-harness cuts them (`_encode_pair` in
//! `api/model.py`, `loglikelihood` for the empty context), so that figures can be compared.

use smollm3_corpus::Tokenizer;
use smollm3_model::ModelConfig;

use crate::{EvalError, Result};

/// A continuation whose log-likelihood after a context is wanted. Neither is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Tokens before the continuation.
    pub context: Vec<u32>,
    /// Tokens to score.
    pub continuation: Vec<u32>,
}

/// The token that stands for an empty context: the model's beginning of text, else the end of the text before.
pub fn prefix_token(config: &ModelConfig, tokenizer: &Tokenizer) -> u32 {
    config.bos_token_id.unwrap_or(tokenizer.info().end_of_text)
}

impl Request {
    /// Both texts as tokens: white space at the end of the context belongs to the continuation, and the continuation is
    /// what the tokens of both together have beyond those of the context. The tokenizer adds what it adds to any text
    /// (some a beginning of text). After an empty context, `prefix` is given.
    ///
    /// # Errors
    /// The tokenizer fails, or the continuation has no separate token.
    pub fn new(tokenizer: &Tokenizer, context: &str, continuation: &str, prefix: u32) -> Result<Self> {
        let given = context.trim_end();
        let rest = context.get(given.len()..).unwrap_or_default();
        let request = match given.is_empty() {
            true => {
                let text = format!("{rest}{continuation}");
                // A text that has its beginning already gets no second one.
                let beginning = tokenizer.next_special(&text, 0).filter(|found| found.start == 0);
                let beginning = beginning.and_then(|found| text.get(found));
                let has_own =
                    beginning.and_then(|token| tokenizer.inner().token_to_id(token)) == Some(prefix);
                let text = text.get(beginning.filter(|_| has_own).map_or(0, str::len)..);
                Self {
                    context: vec![prefix],
                    continuation: tokenizer.encode_text(text.unwrap_or_default())?,
                }
            }
            false => {
                let mut whole = encode(tokenizer, &format!("{given}{rest}{continuation}"))?;
                let context = encode(tokenizer, given)?;
                Self {
                    continuation: whole.split_off(context.len().min(whole.len())),
                    context,
                }
            }
        };
        match request.continuation.is_empty() {
            true => Err(EvalError::NoContinuation {
                continuation: continuation.to_owned(),
            }),
            false => Ok(request),
        }
    }

    /// Tokens that the model reads: all but the last.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = u32> + '_ {
        let all = self.context.iter().chain(&self.continuation).copied();
        all.take(self.context.len() + self.continuation.len() - 1)
    }
}

/// The tokens of a text, with what the tokenizer adds to any text. What the text spells is text: a question that holds
/// `<|im_end|>` ends nothing.
pub(crate) fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    Ok(tokenizer.with_added(tokenizer.encode_text(text)?)?)
}
