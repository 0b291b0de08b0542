//! Leaves the last message open, for a model to continue.
//!
//! What a template writes after a message is not known in advance. So a unique character is appended to the text, and the
//! rendering is cut where it appears.
//! Source: `continue_final_message` in transformers' `render_jinja_template`.

use serde_json::Value;

use crate::error::{ChatError, Result};
use crate::rendered::Rendered;

/// Appends `cut` and a space to the text of the last message; returns the original text.
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

/// Cuts the text at `cut`. If the space after it is missing, the template trims content, and the white space before it is
/// removed too, as in transformers.
pub(crate) fn cut_off(rendered: &mut Rendered, cut: char, last_words: &str) -> Result<()> {
    let Rendered { text, assistant, .. } = rendered;
    let whole = text.contains(last_words.trim()) && text.matches(cut).count() == 1;
    let Some(at) = text.find(cut).filter(|_| whole) else {
        return Err(ChatError::row(
            "cannot be continued: the template does not write the last message once and whole",
        ));
    };
    let spaced = text[at..].trim_start_matches(cut).starts_with(' ');
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
