//! A token of a text.

use std::ops::Range;

/// A token and the bytes of the text that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextToken {
    /// Its id.
    pub id: u32,
    /// Bytes of the text. Tokens of one character all have the bytes of that character.
    pub bytes: Range<usize>,
}
