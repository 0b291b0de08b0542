//! Conversations that go on with a passage of a source's text, for demonstrations: a model that learns nothing but sums
//! forgets how prose goes on.

use serde_json::{Value, json};
use smollm3_chat::Conversation;
use smollm3_recipe::{Passages, Recipe};
use smollm3_sources::source_sample;

use crate::error::{ConversationsError, Result};

/// Bytes of a passage: it ends with the first paragraph past the smaller, and is cut at the larger.
const BYTES: [usize; 2] = [150, 400];
/// Bytes of text that are looked through for each passage.
const LOOKED_THROUGH: u64 = 4_000;
/// Passages of one document, at most, so that no long one makes up the whole.
const OF_ONE: usize = 4;

/// All of them, as rows.
///
/// # Errors
/// The source cannot be read, or has fewer passages.
pub(crate) fn passages(recipe: &Recipe, wanted: &Passages) -> Result<Vec<Value>> {
    let count = wanted.conversations as usize;
    let bytes = wanted.conversations.saturating_mul(LOOKED_THROUGH);
    let texts = source_sample(recipe, &wanted.source, bytes, wanted.seed)?;
    let rows: Vec<Value> = texts
        .iter()
        .flat_map(|text| cut(text).into_iter().take(OF_ONE))
        .filter_map(|passage| continuation(&passage, wanted.think))
        .take(count)
        .collect();
    match rows.len() == count {
        true => Ok(rows),
        false => Err(ConversationsError::Refused(format!(
            "source `{}` has {} passages, of which {count} are asked for; write fewer conversations",
            wanted.source,
            rows.len()
        ))),
    }
}

/// Whole paragraphs together, each passage of at least the smaller number of bytes.
fn cut(text: &str) -> Vec<String> {
    let mut passages = Vec::new();
    let mut passage = String::new();
    for paragraph in text.split("\n\n") {
        passage.push_str(paragraph);
        passage.push_str("\n\n");
        if passage.len() >= BYTES[0] {
            let whole = std::mem::take(&mut passage);
            let end = whole.floor_char_boundary(BYTES[1]);
            passages.push(whole.get(..end).unwrap_or_default().trim().to_owned());
        }
    }
    passages
}

/// The user has its first quarter, up to the end of a word; the assistant writes the rest.
fn continuation(passage: &str, think: bool) -> Option<Value> {
    let quarter = passage.floor_char_boundary(passage.len() / 4);
    let end = quarter + passage.get(quarter..)?.find(' ')?;
    let (begin, rest) = passage.split_at_checked(end)?;
    let messages = vec![
        json!({"role": "user", "content": format!("Go on:\n{begin}")}),
        json!({"role": "assistant", "content": rest}),
    ];
    Some(json!(Conversation::thinking(think, messages)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn passages_are_the_text_in_order(text in "([a-zé ]{1,400}(\n\n)?){0,30}", think: bool) {
            let passages = cut(&text);
            let mut from = 0;
            for passage in &passages {
                prop_assert!(passage.len() <= BYTES[1]);
                let found = text[from..].find(passage.as_str());
                prop_assert!(found.is_some());
                from += found.unwrap() + passage.len();
                let Some(row) = continuation(passage, think) else { continue };
                let said = |index: usize| row["messages"][index]["content"].as_str().unwrap().to_owned();
                prop_assert_eq!(format!("{}{}", &said(0)["Go on:\n".len()..], said(1)), passage.clone());
                prop_assert_eq!(&row["chat_template_kwargs"]["enable_thinking"], &json!(think));
            }
        }
    }
}
