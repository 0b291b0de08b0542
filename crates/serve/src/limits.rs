//! What a request may ask for: so much that it fits the model's context and the machine's memory.

use std::time::Duration;

use smollm3_model::check_prompt;

use crate::server::Shared;
use crate::wire::{Checked, Refusal};

/// What a server takes on.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests at once, those that wait included; more get a 503.
    pub requests: usize,
    /// Bytes of a request.
    pub body: usize,
    /// Prompts of a request times continuations of each.
    pub rows: usize,
    /// Tokens that are kept at once: rows of a batch times the longest of them, prompt and what is asked for together. A
    /// single row may fill the context.
    pub batch_tokens: usize,
    /// Open connections; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a client may take to send the head of a request, and its body; also how long a connection may be idle.
    pub sending: Duration,
}

/// Tokens of a request, in batches.
const BATCHES: usize = 8;

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 64,
            body: 8 << 20,
            rows: 512,
            batch_tokens: 65_536,
            connections: 256,
            sending: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Tokens of all rows of a request, prompts and what is asked for; a single row may fill the context.
    fn request_tokens(&self) -> usize {
        self.batch_tokens.saturating_mul(BATCHES)
    }
}

impl Shared {
    /// Refuses more texts than are computed at once.
    pub fn check_rows(&self, field: &str, prompts: usize, n: usize) -> Checked<()> {
        let most = self.limits.rows;
        match prompts.saturating_mul(n) {
            0 => Err(Refusal::field(field, "is empty; give at least one")),
            rows if rows > most => {
                let problem =
                    format!("asks for {rows} texts with `n` = {n}; at most {most} are computed at once");
                Err(Refusal::field(field, problem))
            }
            _ => Ok(()),
        }
    }

    /// Refuses prompts that the model cannot read.
    pub fn check_prompts(&self, field: &str, prompts: &[Vec<u32>], n: usize) -> Checked<()> {
        self.check_rows(field, prompts.len(), n)?;
        for prompt in prompts {
            check_prompt(prompt, self.model.config.vocab_size, self.context())
                .map_err(|error| Refusal::field(field, format!("cannot be used: {error}")))?;
        }
        Ok(())
    }

    /// The tokens that may follow prompts which the model can read.
    pub fn room(&self, prompts: &[Vec<u32>], n: usize) -> usize {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let rows = prompts.len() * n;
        let each = match rows {
            0 | 1 => self.context(),
            rows => self.context().min(self.limits.request_tokens() / rows),
        };
        each.saturating_sub(longest)
    }

    /// Refuses continuations that do not fit the context, or are too many together.
    pub fn check_new_tokens(&self, prompts: &[Vec<u32>], n: usize, new_tokens: usize) -> Checked<()> {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let context = self.context();
        let wanted = longest.saturating_add(new_tokens);
        if wanted > context {
            return Err(Refusal::field(
                "max_tokens",
                format!(
                    "is {new_tokens} after a prompt of {longest} tokens, but the model's context is {context}"
                ),
            ));
        }
        let rows = prompts.len() * n;
        let all: usize = prompts.iter().map(|prompt| n * (prompt.len() + new_tokens)).sum();
        let most = self.limits.request_tokens();
        if rows > 1 && all > most {
            return Err(Refusal::field(
                "max_tokens",
                format!(
                    "is {new_tokens} for {rows} texts, {all} tokens with the prompts; a request has at most {most}, so ask \
                     for fewer texts or tokens"
                ),
            ));
        }
        Ok(())
    }
}
