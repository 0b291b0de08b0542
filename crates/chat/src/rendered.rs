//! A rendered conversation, and the options of rendering.

use std::ops::Range;

use chrono::NaiveDate;

/// Options of rendering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Render {
    /// Open an assistant's turn at the end.
    pub add_generation_prompt: bool,
    /// Leave the last message open, to be continued. Excludes `add_generation_prompt`.
    pub continue_final_message: bool,
    /// The date of `strftime_now`, which a template that prints the date needs.
    pub date: Option<NaiveDate>,
}

/// A rendered conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges of the `{% generation %}` blocks, in order and disjoint.
    pub assistant: Vec<Range<usize>>,
    /// Whether each answer of the conversation is learned; empty if all are. (A `weight` of 0 leaves one out of the loss.)
    pub learned: Vec<bool>,
    /// Byte ranges at which the template wrote special tokens, if the content spells some as well. `None`: all in the text are
    /// the template's.
    pub special: Option<Vec<Range<usize>>>,
}
