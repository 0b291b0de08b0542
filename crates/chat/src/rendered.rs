//! A conversation as text, and how it becomes that.

use std::ops::Range;

use chrono::NaiveDate;

/// How to render.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Render {
    /// End with what opens an assistant's turn.
    pub add_generation_prompt: bool,
    /// Leave the last message open, to be continued. Not together with `add_generation_prompt`.
    pub continue_final_message: bool,
    /// What `strftime_now` takes for today. A template that prints the date needs one.
    pub date: Option<NaiveDate>,
}

/// A rendered conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges of the `{% generation %}` blocks, in order and apart.
    pub assistant: Vec<Range<usize>>,
    /// Byte ranges at which the template wrote special tokens, where the content spells some as well. Without it, all
    /// that the text spells are the template's.
    pub special: Option<Vec<Range<usize>>>,
}
