//! A special token that a row spells.

/// A special token in the content of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpelledToken {
    /// Where it stands, such as `messages[0].content`.
    pub key: String,
    /// Its text.
    pub token: String,
}
