//! Conversations that continue a passage of a source's text, for demonstrations: a model fine-tuned only on sums forgets how
//! to write prose.

use serde_json::{Value, json};
use smollm3_chat::Conversation;
use smollm3_recipe::{Passages, Recipe};
use smollm3_sources::source_sample;

use crate::error::{ConversationsError, Result};

/// Bytes of a passage: it ends with the paragraph that reaches the minimum, and is cut at the maximum.
const BYTES: [usize; 2] = [150, 400];
/// Bytes of text sampled per passage.
const LOOKED_THROUGH: u64 = 4_000;
/// Maximum number of passages per document, so that a long one does not dominate.
const OF_ONE: usize = 4;

/// All of them, as rows.
///
/// # Errors
/// The source cannot be read, or has fewer passages.
pub(crate) fn passages(recipe: &Recipe, wanted: &Passages) -> Result<Vec<Value>> {
    let count = wanted.conversations as usize;
    let bytes = wanted.conversations.saturating_mul(LOOKED_THROUGH);
    let texts = source_sample(recipe, &wanted.source, bytes, wanted.seed)?;
    let rows: Vec<Value> = continuations(&texts, wanted.think).take(count).collect();
    match rows.len() == count {
        true => Ok(rows),
        false => Err(ConversationsError::Refused(format!(
            "source `{}` has {} passages, of which {count} are asked for; write fewer conversations",
            wanted.source,
            rows.len()
        ))),
    }
}

/// A few of each text, in their order.
fn continuations(texts: &[String], think: bool) -> impl Iterator<Item = Value> {
    let passages = texts.iter().flat_map(|text| cut(text).into_iter().take(OF_ONE));
    passages.filter_map(move |passage| continuation(&passage, think))
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

/// The user gives the first quarter, up to the end of a word; the assistant writes the rest.
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

    #[test]
    fn a_passage_without_words_takes_no_place() {
        let words = "go on with this ".repeat(BYTES[0] / 10);
        let texts = ["x".repeat(BYTES[1]), words.clone(), words];
        assert_eq!(continuations(&texts, true).take(2).count(), 2);
    }

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
