//! A token of a text.

use std::ops::Range;

/// A token and the bytes of the text that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextToken {
    /// Its id.
    pub id: u32,
    /// Its bytes in the text. If a character has several tokens, each has the bytes of that character.
    pub bytes: Range<usize>,
}
