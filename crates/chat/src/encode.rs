//! From rendered text to tokens, and which of them carry loss.
//!
//! The whole text is encoded once, with the template's special tokens parsed and none added. Encoding the turns one by
//! one would be simpler and wrong: a merge may cross the border of a turn.
//!
//! A token is the assistant's if all that it stands for lies in one of the assistant's spans. A token over a border is
//! not: nobody else's words are learned, whatever a tokenizer does to white space. Offsets are those before
//! post-processing, which in some tokenizers trims white space off them. transformers
//! (`return_assistant_tokens_mask`) looks for the tokens of a span's first and last character instead; where the
//! last one has no token, it learns all that follows, and a token over a border counts. Otherwise the masks are the
//! same, also where the last character of a span has several tokens, of which it takes the first.

use std::ops::Range;

use chrono::NaiveDate;
use smollm3_corpus::{TextToken, Tokenizer};

use crate::Conversation;
use crate::error::{ChatError, Result};
use crate::rendered::Rendered;
use crate::template::Template;

/// The tokens of a rendered conversation. The lists are of one length, but for `turns`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether a token is the assistant's.
    pub assistant: Vec<bool>,
    /// Bytes of the rendered text that a token stands for. Tokens that share one character share its bytes.
    pub offsets: Vec<Range<usize>>,
    /// Of each of the rendered text's assistant spans the tokens from its first to its last, in order; empty where it
    /// has none.
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
/// As [`Template::render_prompt`] and [`encode`].
pub fn encode_prompt(
    tokenizer: &Tokenizer,
    template: &Template,
    conversation: &Conversation,
    date: Option<NaiveDate>,
) -> Result<Vec<u32>> {
    encode(tokenizer, &template.render_prompt(tokenizer, conversation, date)?).map(|encoded| encoded.ids)
}

/// Encodes `rendered`: special tokens that the template wrote are parsed, none are added.
///
/// # Errors
/// Where the tokenizer's own pipeline fails.
pub fn encode(tokenizer: &Tokenizer, rendered: &Rendered) -> Result<Encoded> {
    let tokens = tokenizer.encode_spans(&rendered.text, rendered.special.as_deref())?;
    let spans = &rendered.assistant;
    let mut assistant = vec![false; tokens.len()];
    let mut turns: Vec<Range<usize>> = vec![0..0; spans.len()];
    for (index, TextToken { bytes, .. }) in tokens.iter().enumerate() {
        let Some(turn) = spans
            .partition_point(|span| span.start <= bytes.start)
            .checked_sub(1)
        else {
            continue;
        };
        let (Some(span), Some(turn)) = (spans.get(turn), turns.get_mut(turn)) else {
            continue;
        };
        let inside = bytes.start < bytes.end && bytes.end <= span.end;
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        let repeats = before.is_some_and(|before| ends_in_wide_character(&rendered.text, span, before));
        if !inside || repeats {
            continue;
        }
        if turn.start == turn.end {
            *turn = index..index;
        }
        turn.end = index + 1;
        if let Some(assistant) = assistant.get_mut(index) {
            *assistant = true;
        }
    }
    let (ids, offsets) = tokens.into_iter().map(|token| (token.id, token.bytes)).unzip();
    Ok(Encoded {
        ids,
        assistant,
        offsets,
        turns,
    })
}

/// Whether a token holds the last character of a span, and that may have further tokens.
fn ends_in_wide_character(text: &str, span: &Range<usize>, token: &TextToken) -> bool {
    let last = text.get(span.clone()).and_then(|text| text.chars().next_back());
    let length = last.map_or(1, char::len_utf8);
    length > 1 && (token.bytes.start..token.bytes.end).contains(&(span.end - length))
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
            Learned::LastTurn => {
                let last = encoded.turns.last().cloned().unwrap_or_default();
                let assistant = encoded.assistant.iter().enumerate();
                assistant
                    .map(|(token, said)| *said && last.contains(&token))
                    .collect()
            }
        })
    }
}
