//! A rendered conversation token by token, for people: whose words they are and which carry loss.
//!
//! Roles are read from the text (`<|im_start|>ROLE` and a line end), not kept from the rendering, where a
//! template is free to write anything; text of another convention has no roles. A marker that a message spells opens
//! no turn.

use serde::Serialize;

use crate::encode::Encoded;
use crate::rendered::Rendered;
use crate::tokens::IM_START;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedToken {
    /// Its id.
    pub id: u32,
    /// The text that it stands for. Where a character has several tokens it is given to the first of them, so
    /// that the texts, put together, are the row, but for what the tokenizer drops.
    pub text: String,
    /// The role whose turn it is in, where the text shows one.
    pub role: Option<String>,
    /// Whether it carries loss.
    pub learned: bool,
}

/// The tokens of `encoded`, which is of `rendered`; `mask` says which carry loss, and tokens past its end do not.
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

/// Where turns begin, and whose they are.
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
