//! From rendered text to tokens, and which of them carry loss.
//!
//! The whole text is encoded once, with special tokens parsed and none added, and the spans of the assistant
//! are looked up in the tokens' offsets, as transformers does (`return_assistant_tokens_mask`). Encoding the
//! turns one by one would be simpler and wrong: a merge may cross the border of a turn.

use std::ops::Range;

use chrono::NaiveDate;
use smollm3_corpus::Tokenizer;

use crate::Conversation;
use crate::error::{ChatError, Result};
use crate::template::{Render, Rendered, Template};

/// The tokens of a rendered conversation. The lists are of one length, but for `turns`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether a token is the assistant's: lies in one of `turns`.
    pub assistant: Vec<bool>,
    /// Bytes of the rendered text that a token stands for. Tokens that share one character share its bytes.
    pub offsets: Vec<Range<usize>>,
    /// Token ranges of the rendered text's assistant spans, in order.
    pub turns: Vec<Range<usize>>,
}

/// Which tokens carry loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Learned {
    /// What the assistant writes, in all its turns.
    #[default]
    Assistant,
    /// Everything.
    All,
    /// What the assistant writes in its last turn.
    LastTurn,
}

/// A conversation as the tokens that the assistant's next turn follows. `date` is what the template may tell.
///
/// # Errors
/// The template refuses the conversation, or as [`encode`].
pub fn encode_prompt(
    tokenizer: &Tokenizer,
    template: &Template,
    conversation: &Conversation,
    date: Option<NaiveDate>,
) -> Result<Vec<u32>> {
    let render = Render {
        add_generation_prompt: true,
        date,
        ..Render::default()
    };
    Ok(encode(tokenizer, &template.render(conversation, &render)?)?.ids)
}

/// Encodes `rendered`: special tokens in it are parsed, none are added.
///
/// # Errors
/// Where the tokenizer's own pipeline fails.
pub fn encode(tokenizer: &Tokenizer, rendered: &Rendered) -> Result<Encoded> {
    let (ids, offsets) = tokenizer.encode_with_offsets(&rendered.text)?;
    let mut turns = Vec::with_capacity(rendered.assistant.len());
    for span in &rendered.assistant {
        // As transformers: a span whose first character no token holds ends the search.
        let Some(first) = token_at(&offsets, span.start) else {
            break;
        };
        // The token of the last character, or rather the first of its tokens where it has several.
        let last = rendered
            .text
            .get(..span.end)
            .and_then(|text| text.char_indices().next_back())
            .and_then(|(at, _)| token_at(&offsets, at));
        let end = last.map_or(ids.len(), |last| last + 1);
        turns.push(first..end.max(first));
    }
    Ok(Encoded {
        assistant: cover(ids.len(), &turns),
        ids,
        offsets,
        turns,
    })
}

impl Template {
    /// Refuses, before any row is read, a choice of loss that this template cannot serve.
    ///
    /// # Errors
    /// [`ChatError::Unmarked`] for a template without `{% generation %}` blocks, unless all tokens are learned.
    pub fn check_learned(&self, learned: Learned) -> Result<()> {
        match self.marks_assistant() || learned == Learned::All {
            true => Ok(()),
            false => Err(ChatError::Unmarked {
                template: self.name().to_owned(),
            }),
        }
    }

    /// Which tokens of `encoded`, rendered by this template, carry loss.
    ///
    /// # Errors
    /// As [`Template::check_learned`].
    pub fn mask(&self, encoded: &Encoded, learned: Learned) -> Result<Vec<bool>> {
        self.check_learned(learned)?;
        let tokens = encoded.ids.len();
        Ok(match learned {
            Learned::All => vec![true; tokens],
            Learned::Assistant => encoded.assistant.clone(),
            Learned::LastTurn => cover(tokens, encoded.turns.last().map_or(&[], std::slice::from_ref)),
        })
    }
}

/// The first token that holds the byte `at`. Offsets end in rising order, so it is found by halving.
fn token_at(offsets: &[Range<usize>], at: usize) -> Option<usize> {
    let index = offsets.partition_point(|token| token.end <= at);
    offsets
        .get(index)
        .filter(|token| token.contains(&at))
        .map(|_| index)
}

fn cover(tokens: usize, turns: &[Range<usize>]) -> Vec<bool> {
    let mut mask = vec![false; tokens];
    for turn in turns {
        mask.get_mut(turn.clone()).unwrap_or_default().fill(true);
    }
    mask
}
