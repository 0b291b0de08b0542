//! A rendered conversation token by token, for people: the role and whether it is learned.
//!
//! Roles are read from the text (`<|im_start|>ROLE` and a line end), because a template is free to write anything; other
//! conventions show no roles. A marker that a message spells opens no turn.

use serde::Serialize;

use crate::encode::Encoded;
use crate::rendered::Rendered;
use crate::tokens::IM_START;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedToken {
    /// Its id.
    pub id: u32,
    /// Its text. A character with several tokens belongs to the first, so that the joined texts are the row, except what the
    /// tokenizer drops.
    pub text: String,
    /// The role of its turn, if the text shows one.
    pub role: Option<String>,
    /// Whether it carries loss.
    pub learned: bool,
}

/// The tokens of `encoded`, the encoding of `rendered`; `mask` says which are learned (none past its end).
pub fn tokens(encoded: &Encoded, rendered: &Rendered, mask: &[bool]) -> Vec<ExplainedToken> {
    let mut turns = turns(rendered).into_iter().peekable();
    let mut role = None;
    let mut shown = 0;
    let mut explained = Vec::with_capacity(encoded.ids.len());
    for (index, (&id, bytes)) in encoded.ids.iter().zip(&encoded.offsets).enumerate() {
        while let Some((_, name)) = turns.next_if(|(start, _)| *start < bytes.end) {
            role = name;
        }
        let text = rendered.text.get(bytes.start.max(shown)..bytes.end);
        shown = shown.max(bytes.end);
        explained.push(ExplainedToken {
            id,
            text: text.unwrap_or_default().to_owned(),
            role: role.map(str::to_owned),
            learned: mask.get(index).copied().unwrap_or(false),
        });
    }
    explained
}

/// Where turns begin, and their roles.
fn turns(rendered: &Rendered) -> Vec<(usize, Option<&str>)> {
    let text = rendered.text.as_str();
    let is_special = |at: usize| match &rendered.special {
        None => true,
        Some(special) => special.iter().any(|range| range.start == at),
    };
    let starts = text.match_indices(IM_START).filter(|(at, _)| is_special(*at));
    starts
        .map(|(at, _)| {
            let after = text.get(at + IM_START.len()..).unwrap_or_default();
            let name = after.split_once('\n').map(|(name, _)| name);
            let is_role =
                |name: &&str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
            (at, name.filter(is_role))
        })
        .collect()
}
