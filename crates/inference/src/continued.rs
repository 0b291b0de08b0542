//! Several texts continued at once, each with its own end.

use std::ops::ControlFlow;

use smollm3_model::{Generation, generate_with_scores};

use crate::{Continuation, Pieces, Result, TextModel};

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model ended its text, or wrote a stop text.
    Stop,
    /// It has as many tokens as were asked for, or as the context holds.
    Length,
}

/// A token of a continuation as it comes.
#[derive(Debug)]
pub struct Step<'a> {
    /// Which prompt is continued.
    pub row: usize,
    /// The token.
    pub token: u32,
    /// What it adds to the text that can be shown, often nothing.
    pub piece: String,
    /// What it was chosen from: a score for each entry of the vocabulary.
    pub scores: &'a [f32],
    /// Set at the last token.
    pub end: Option<End>,
}

/// A continuation as it grows.
#[derive(Debug)]
pub struct Growing<'a> {
    pieces: Pieces<'a>,
    end_tokens: &'a [u32],
    /// Tokens that may still come.
    left: usize,
}

impl<'a> Growing<'a> {
    /// What follows `prompt` tokens of a model with `context` positions; one of `end_tokens` ends it.
    pub fn new(model: &'a TextModel, prompt: usize, how: &'a Continuation, end_tokens: &'a [u32]) -> Self {
        // The last token is predicted from a full row.
        let room = (model.model.max_positions() + 1).saturating_sub(prompt);
        Self {
            pieces: Pieces::new(&model.tokenizer, &how.stop),
            end_tokens,
            left: how.max_new_tokens.min(room),
        }
    }

    /// Adds a token: what can be shown now, and whether it is the last.
    pub fn push(&mut self, token: u32) -> (String, Option<End>) {
        let mut piece = self.pieces.push(token).to_owned();
        self.left = self.left.saturating_sub(1);
        let end = match self.pieces.stopped() || self.end_tokens.contains(&token) {
            true => Some(End::Stop),
            false if self.left == 0 => Some(End::Length),
            false => None,
        };
        if end.is_some() {
            piece.push_str(self.pieces.finish());
        }
        (piece, end)
    }

    /// All of the text so far.
    pub fn text(&self) -> &str {
        self.pieces.text()
    }
}

impl TextModel {
    /// Continues `prompts` at once; `on_step` sees each token as it is found and cuts its row by [`ControlFlow::Break`].
    /// `streams` names each prompt's random numbers, which are those of its place beyond them. Returns the texts.
    ///
    /// # Errors
    /// A prompt cannot be continued.
    pub fn continue_texts(
        &self,
        prompts: &[Vec<u32>],
        streams: &[u64],
        how: &Continuation,
        mut on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        let settings = Generation {
            max_new_tokens: how.max_new_tokens,
            stop: self.end_tokens(),
            sampling: how.sampling.clone(),
        };
        let mut rows: Vec<Growing<'_>> = prompts
            .iter()
            .map(|prompt| Growing::new(self, prompt.len(), how, &settings.stop))
            .collect();
        generate_with_scores(&self.model, prompts, streams, &settings, |row, token, scores| {
            let Some(growing) = rows.get_mut(row) else {
                return ControlFlow::Break(());
            };
            let (piece, end) = growing.push(token);
            on_step(Step {
                row,
                token,
                piece,
                scores,
                end,
            })?;
            match end {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        })?;
        Ok(rows.iter().map(|row| row.text().to_owned()).collect())
    }
}
