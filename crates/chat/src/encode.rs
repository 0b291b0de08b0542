//! From rendered text to tokens and the mask of learned ones.
//!
//! The whole text is encoded once, with the template's special tokens parsed and none added. Encoding turn by turn would be
//! wrong: a merge may cross the border of a turn.
//!
//! A token is the assistant's if it lies entirely in one of the assistant's spans. A token across a border is not: no other
//! words are learned, however a tokenizer handles white space. Offsets are those before post-processing, which in some
//! tokenizers trims white space. transformers (`return_assistant_tokens_mask`) takes the tokens of a span's first and last
//! character instead; if the last one has no token, it learns everything after it, and a token across a border counts.
//! Otherwise the masks are the same, even if the last character of a span has several tokens, of which only the first counts.

use std::ops::Range;

use chrono::NaiveDate;
use smollm3_corpus::{TextToken, Tokenizer};

use crate::Conversation;
use crate::error::{ChatError, Result};
use crate::rendered::Rendered;
use crate::template::Template;

/// The tokens of a rendered conversation. All lists but `turns` and `unlearned` have the same length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether a token is the assistant's.
    pub assistant: Vec<bool>,
    /// The bytes of each token in the rendered text. Tokens of one character share its bytes.
    pub offsets: Vec<Range<usize>>,
    /// The token range of each assistant span of the rendered text, in order; empty if it has no tokens.
    pub turns: Vec<Range<usize>>,
    /// Those of `turns` that are not learned.
    pub unlearned: Vec<Range<usize>>,
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

/// A conversation as the tokens of a prompt. `date` is the date that the template may print.
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
/// Where the tokenizer's own pipeline fails, or the template does not mark an answer that is not learned.
pub fn encode(tokenizer: &Tokenizer, rendered: &Rendered) -> Result<Encoded> {
    let unlearned = unlearned_turns(rendered)?;
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
        let (span, turn) = (&spans[turn], &mut turns[turn]);
        let inside = bytes.start < bytes.end && bytes.end <= span.end;
        let before = index.checked_sub(1).map(|before| &tokens[before]);
        let repeats = before.is_some_and(|before| ends_in_wide_character(&rendered.text, span, before));
        if !inside || repeats {
            continue;
        }
        if turn.start == turn.end {
            turn.start = index;
        }
        turn.end = index + 1;
        assistant[index] = true;
    }
    let (ids, offsets) = tokens.into_iter().map(|token| (token.id, token.bytes)).unzip();
    Ok(Encoded {
        ids,
        assistant,
        offsets,
        unlearned: unlearned.into_iter().map(|turn| turns[turn].clone()).collect(),
        turns,
    })
}

/// The spans of answers that are not learned. Nothing but their order connects spans with answers.
fn unlearned_turns(rendered: &Rendered) -> Result<Vec<usize>> {
    let Rendered {
        assistant, learned, ..
    } = rendered;
    if !learned.is_empty() && learned.len() != assistant.len() {
        return Err(ChatError::row(format!(
            "has an answer of `weight` 0, and the template marks {} of {} answers with {{% generation %}}, so it cannot be left \
             out of the loss; take a template that marks each, or remove the `weight`",
            assistant.len(),
            learned.len()
        )));
    }
    let turns = learned.iter().enumerate().filter(|(_, learned)| !**learned);
    Ok(turns.map(|(turn, _)| turn).collect())
}

/// Whether a token contains the last character of a span, and that may have further tokens.
fn ends_in_wide_character(text: &str, span: &Range<usize>, token: &TextToken) -> bool {
    let last = text.get(span.clone()).and_then(|text| text.chars().next_back());
    let length = last.map_or(1, char::len_utf8);
    length > 1 && (token.bytes.start..token.bytes.end).contains(&(span.end - length))
}

impl Template {
    /// Refuses a choice of loss that this template cannot support.
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
        let mut mask = match learned {
            Learned::All => vec![true; tokens],
            Learned::Assistant => encoded.assistant.clone(),
            Learned::LastTurn => {
                let last = encoded.turns.last().cloned().unwrap_or_default();
                let assistant = encoded.assistant.iter().enumerate();
                assistant
                    .map(|(token, said)| *said && last.contains(&token))
                    .collect()
            }
        };
        for token in encoded.unlearned.iter().cloned().flatten() {
            mask[token] = false;
        }
        Ok(mask)
    }
}
