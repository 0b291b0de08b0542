//! Leaving the last message open, for a model to continue.
//!
//! A template ends every message its own way, so what it writes behind the last one is not known beforehand:
//! a character that occurs nowhere else is put behind the text, and the rendering ends where it comes out.
//! Source: `continue_final_message` in transformers' `render_jinja_template`.

use serde_json::Value;

use crate::error::{ChatError, Result};
use crate::rendered::Rendered;

/// Puts `cut` and a space behind the text of the last message; that text.
pub(crate) fn leave_open(messages: &mut [Value], cut: char) -> Result<String> {
    let content = messages.last_mut().and_then(|message| message.get_mut("content"));
    let text = match content {
        Some(Value::Array(parts)) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        content => content,
    };
    let Some(Value::String(text)) = text else {
        return Err(ChatError::row(
            "cannot be continued: the last message has no text; give it a `content` or do not continue it",
        ));
    };
    let last_words = text.clone();
    text.push(cut);
    text.push(' ');
    Ok(last_words)
}

/// Ends the text where `cut` stands. A template that trims content has dropped the space behind it, and then
/// the white space before it goes too, as in transformers.
pub(crate) fn cut_off(rendered: &mut Rendered, cut: char, last_words: &str) -> Result<()> {
    let Rendered { text, assistant, .. } = rendered;
    let whole = text.contains(last_words.trim()) && text.matches(cut).count() == 1;
    let Some(at) = text.find(cut).filter(|_| whole) else {
        return Err(ChatError::row(
            "cannot be continued: the template does not write the last message once and whole",
        ));
    };
    let spaced = text
        .get(at + cut.len_utf8()..)
        .is_some_and(|rest| rest.starts_with(' '));
    text.truncate(at);
    if !spaced {
        text.truncate(text.trim_end().len());
    }
    for span in assistant.iter_mut() {
        span.end = span.end.min(text.len());
    }
    assistant.retain(|span| span.start < span.end);
    Ok(())
}
