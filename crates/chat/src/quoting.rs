//! Distinguishes special tokens spelt in a message from those that the template writes.
//!
//! Before rendering, a marker character is inserted after the first character of each spelling in the content. Templates
//! strip, cut, replace and print content as JSON, and the marker stays with it. So all special tokens in the rendered text
//! are the template's; then the markers are removed. Content without spellings, which is nearly all, is rendered unchanged.

use std::ops::Range;

use serde_json::Value;
use smollm3_corpus::Tokenizer;

use crate::conversation::Conversation;
use crate::error::SpelledToken;
use crate::rendered::Rendered;

/// The first special token that a message, a tool or a variable of the template spells, in a value or a key.
pub fn spelled_token(tokenizer: &Tokenizer, conversation: &Conversation) -> Option<SpelledToken> {
    let Conversation {
        messages,
        tools,
        template_kwargs,
    } = conversation;
    let find =
        |(index, value): (usize, &Value), list: &str| find(tokenizer, value, &format!("{list}[{index}]"));
    let mut messages = messages.iter().enumerate();
    let mut tools = tools.iter().flatten().enumerate();
    messages
        .find_map(|message| find(message, "messages"))
        .or_else(|| tools.find_map(|tool| find(tool, "tools")))
        .or_else(|| find_in_entries(tokenizer, template_kwargs.iter(), "chat_template_kwargs"))
}

fn find(tokenizer: &Tokenizer, value: &Value, key: &str) -> Option<SpelledToken> {
    match value {
        Value::String(text) => {
            let range = tokenizer.next_special(text, 0)?;
            Some(SpelledToken {
                key: key.to_owned(),
                token: text.get(range)?.to_owned(),
            })
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| find(tokenizer, item, &format!("{key}[{index}]")))
        }
        Value::Object(entries) => find_in_entries(tokenizer, entries.iter(), key),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn find_in_entries<'a>(
    tokenizer: &Tokenizer,
    mut entries: impl Iterator<Item = (&'a String, &'a Value)>,
    key: &str,
) -> Option<SpelledToken> {
    entries.find_map(|(name, value)| {
        if let Some(range) = tokenizer.next_special(name, 0) {
            return Some(SpelledToken {
                key: key.to_owned(),
                token: name.get(range)?.to_owned(),
            });
        }
        // The path is only assembled if there is something to report.
        let mut found = find(tokenizer, value, "")?;
        found.key = format!("{key}.{name}{}", found.key);
        Some(found)
    })
}

/// The conversation with `marker` in each special token that it spells.
pub(crate) fn quoted(tokenizer: &Tokenizer, conversation: &Conversation, marker: char) -> Conversation {
    let quoted = |value: &Value| quote(tokenizer, value, marker);
    let values = |values: &Vec<Value>| values.iter().map(quoted).collect();
    let kwargs = conversation.template_kwargs.iter();
    Conversation {
        messages: values(&conversation.messages),
        tools: conversation.tools.as_ref().map(values),
        template_kwargs: kwargs.map(|(key, value)| (key.clone(), quoted(value))).collect(),
    }
}

fn quote(tokenizer: &Tokenizer, value: &Value, marker: char) -> Value {
    match value {
        Value::String(text) => Value::String(quote_text(tokenizer, text, marker)),
        Value::Array(items) => items.iter().map(|item| quote(tokenizer, item, marker)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, item)| (quote_text(tokenizer, key, marker), quote(tokenizer, item, marker)))
            .collect(),
        other => other.clone(),
    }
}

fn quote_text(tokenizer: &Tokenizer, text: &str, marker: char) -> String {
    let mut quoted = String::new();
    let mut done = 0;
    // Spellings may overlap.
    while let Some(found) = tokenizer.next_special(text, done) {
        let first = text.get(found.start..).and_then(|rest| rest.chars().next());
        let end = found.start + first.map_or(1, char::len_utf8);
        quoted.push_str(text.get(done..end).unwrap_or_default());
        quoted.push(marker);
        done = end;
    }
    quoted.push_str(text.get(done..).unwrap_or_default());
    quoted
}

/// Removes the markers from a text and records where the template wrote special tokens.
pub(crate) fn unquoted(tokenizer: &Tokenizer, rendered: Rendered, marker: char) -> Rendered {
    let marked = rendered.text;
    let special = tokenizer.special_in(&marked);
    let mut text = String::with_capacity(marked.len());
    // The place of each marker, and the bytes removed up to and including it.
    let mut removed: Vec<(usize, usize)> = Vec::new();
    let forms = written_forms(marker);
    let mut done = 0;
    while let Some((at, length)) = first_of(&marked, done, &forms) {
        text.push_str(marked.get(done..at).unwrap_or_default());
        let before = removed.last().map_or(0, |(_, bytes)| *bytes);
        removed.push((at, before + length));
        done = at + length;
    }
    text.push_str(marked.get(done..).unwrap_or_default());
    let place = |at: usize| {
        let before = removed.partition_point(|(marker, _)| *marker < at);
        let last = before.checked_sub(1).and_then(|last| removed.get(last));
        at.saturating_sub(last.map_or(0, |(_, bytes)| *bytes))
    };
    let moved = |range: Range<usize>| place(range.start)..place(range.end);
    Rendered {
        assistant: rendered.assistant.into_iter().map(moved).collect(),
        learned: rendered.learned,
        special: Some(special.into_iter().map(moved).collect()),
        text,
    }
}

/// The forms in which a template may print a character: unchanged, or as an escape of JSON or of Python's `repr`.
pub(crate) fn written_forms(character: char) -> [String; 3] {
    let mut units = [0; 2];
    let units = character.encode_utf16(&mut units).iter();
    let json = units.map(|unit| format!("\\u{unit:04x}")).collect();
    [
        character.to_string(),
        json,
        format!("\\U{:08x}", character as u32),
    ]
}

fn first_of(text: &str, from: usize, forms: &[String; 3]) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    let found = |form: &String| Some((from + rest.find(form.as_str())?, form.len()));
    forms.iter().filter_map(found).min()
}
