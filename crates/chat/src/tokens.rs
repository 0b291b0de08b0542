//! Checks and adds the tokens that mark turns.
//!
//! A marker that is split into several tokens is an expensive mistake, because nothing fails: the model learns to end its
//! turn with seven tokens, and generation, which waits for one, never stops.

use smollm3_corpus::Tokenizer;
use tokenizers::AddedToken;

use crate::error::{ChatError, Result};

/// Begins a turn.
pub const IM_START: &str = "<|im_start|>";
/// Ends a turn.
pub const IM_END: &str = "<|im_end|>";

/// Tokens that chat needs: (text, whether decoding skips them). The thinking tags are part of the text.
const WANTED: [(&str, bool); 4] = [
    (IM_START, true),
    (IM_END, true),
    ("<think>", false),
    ("</think>", false),
];

/// The ids of the tokens that mark turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatTokens {
    /// Id of `<|im_start|>`.
    pub im_start: u32,
    /// Id of `<|im_end|>`.
    pub im_end: u32,
}

/// The ids of the tokens that mark turns, each of which must be one token in running text.
///
/// # Errors
/// [`ChatError::MissingTokens`], which says how to add them.
pub fn check_tokens(tokenizer: &Tokenizer) -> Result<ChatTokens> {
    match (single(tokenizer, IM_START)?, single(tokenizer, IM_END)?) {
        (Some(im_start), Some(im_end)) => Ok(ChatTokens { im_start, im_end }),
        (im_start, im_end) => {
            let found = [(IM_START, im_start), (IM_END, im_end)];
            let missing = found.iter().filter(|(_, id)| id.is_none());
            Err(ChatError::MissingTokens {
                tokenizer: tokenizer.name().to_owned(),
                missing: missing.map(|(token, _)| format!("`{token}`")).collect(),
            })
        }
    }
}

/// Adds the missing ones of `<|im_start|>`, `<|im_end|>` (special), `<think>` and `</think>` (part of the text): the
/// extended tokenizer, and the added tokens with ids after the vocabulary. The model's embedding must grow with it.
///
/// # Errors
/// A tokenizer whose ids have holes at the end, or whose own pipeline fails.
pub fn add_chat_tokens(tokenizer: &Tokenizer) -> Result<(Tokenizer, Vec<(String, u32)>)> {
    let failed = |problem: String| ChatError::Tokenizer {
        tokenizer: tokenizer.name().to_owned(),
        problem,
    };
    let mut inner = tokenizer.inner().clone();
    let mut missing = Vec::new();
    for (token, special) in WANTED {
        if single(tokenizer, token)?.is_none() {
            missing.push(token);
            let added = AddedToken::from(token, special).normalized(false);
            match special {
                true => inner.add_special_tokens(&[added]),
                false => inner.add_tokens(&[added]),
            };
        }
    }
    let json = inner
        .to_string(false)
        .map_err(|error| failed(error.to_string()))?;
    let extended = Tokenizer::from_json(tokenizer.name(), json.as_bytes())?;

    let mut added = Vec::new();
    for token in missing {
        // An existing entry that was not parsed keeps its id.
        let before = tokenizer.inner().token_to_id(token);
        let id = single(&extended, token)?;
        let id = id.filter(|id| before == Some(*id) || *id >= tokenizer.info().vocab_size);
        let id = id.ok_or_else(|| failed(format!("`{token}` could not be added after the vocabulary")))?;
        added.push((token.to_owned(), id));
    }
    Ok((extended, added))
}

/// The id of `token`, if running text with it gives that one token.
fn single(tokenizer: &Tokenizer, token: &str) -> Result<Option<u32>> {
    let ids = tokenizer.encode(token)?;
    Ok(match ids.as_slice() {
        [id] if tokenizer.inner().token_to_id(token) == Some(*id) => Some(*id),
        _ => None,
    })
}
