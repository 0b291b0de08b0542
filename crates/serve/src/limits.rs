//! What a request may ask for: so much that it fits the model's context and the machine's memory.

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
    /// Tokens of all rows of a request, prompts and what is asked for; a single row may fill the context.
    pub batch_tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 64,
            body: 16 << 20,
            rows: 512,
            batch_tokens: 65_536,
        }
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
            rows => self.context().min(self.limits.batch_tokens / rows),
        };
        each.saturating_sub(longest)
    }

    /// Refuses continuations that do not fit the context, or the memory together.
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
        let most = self.limits.batch_tokens;
        // A single token needs no memory of those before it.
        if new_tokens > 1 && rows > 1 && rows.saturating_mul(wanted) > most {
            return Err(Refusal::field(
                "max_tokens",
                format!(
                    "is {new_tokens} for {rows} texts after up to {longest} tokens; at most {most} tokens are kept at \
                     once, so ask for fewer texts or tokens"
                ),
            ));
        }
        Ok(())
    }
}
