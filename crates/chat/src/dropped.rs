//! What a template leaves out.

/// Something that the template does not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its kind, such as "a system message", "tool calls" or "reasoning".
    pub kind: &'static str,
    /// Its message, counted from 0, if it is of one.
    pub message: Option<usize>,
    /// Where it stands, such as `messages[0].content`.
    pub key: String,
    /// Its beginning.
    pub text: String,
}
