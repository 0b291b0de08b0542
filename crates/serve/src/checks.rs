//! Checks requests against the model's context and the server's limits.

use smollm3_model::check_prompt;

use crate::shared::Shared;
use crate::wire::{Checked, Refusal};

impl Shared {
    /// Refuses more texts than a request may have.
    pub fn check_rows(&self, field: &str, prompts: usize, n: usize) -> Checked<()> {
        let most = self.limits.rows;
        match prompts.saturating_mul(n) {
            0 => Err(Refusal::field(field, "is empty; give at least one")),
            rows if rows > most => {
                let problem = format!("asks for {rows} texts with `n` = {n}; a request has at most {most}");
                Err(Refusal::field(field, problem))
            }
            _ => Ok(()),
        }
    }

    /// Refuses prompts that the model cannot process.
    pub fn check_prompts(&self, field: &str, prompts: &[Vec<u32>], n: usize) -> Checked<()> {
        self.check_rows(field, prompts.len(), n)?;
        for prompt in prompts {
            check_prompt(prompt, self.model.config.vocab_size, self.context())
                .map_err(|error| Refusal::field(field, format!("cannot be used: {error}")))?;
        }
        Ok(())
    }

    /// The maximum number of new tokens after checked prompts.
    pub fn room(&self, prompts: &[Vec<u32>], n: usize) -> usize {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let rows = prompts.len() * n;
        let each = match rows {
            0 | 1 => self.context(),
            rows => self.context().min(self.limits.request_tokens() / rows),
        };
        each.saturating_sub(longest)
    }

    /// Refuses continuations that exceed the context, or the limit of a request.
    pub fn check_new_tokens(&self, prompts: &[Vec<u32>], n: usize, new_tokens: usize) -> Checked<()> {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let context = self.context();
        let wanted = longest.saturating_add(new_tokens);
        if wanted > context {
            let problem = format!(
                "is {new_tokens} after a prompt of {longest} tokens, but the model's context is {context}"
            );
            return Err(Refusal::field("max_tokens", problem));
        }
        let rows = prompts.len() * n;
        let all: usize = prompts.iter().map(|prompt| n * (prompt.len() + new_tokens)).sum();
        let most = self.limits.request_tokens();
        if rows > 1 && all > most {
            let problem = format!(
                "is {new_tokens} for {rows} texts, {all} tokens with the prompts; a request has at most {most}, so ask for \
                 fewer texts or tokens"
            );
            return Err(Refusal::field("max_tokens", problem));
        }
        Ok(())
    }
}
