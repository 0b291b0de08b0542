use smollm3_chat::ChatError;
use smollm3_chat::tokens::{ChatTokens, add_chat_tokens, check_tokens};
use smollm3_corpus::Tokenizer;

use crate::fixtures::tokenizer;

/// The fixture's tokenizer without the added tokens from `first` on, in the order of their ids.
fn without(first: u32) -> Tokenizer {
    let mut json: serde_json::Value = serde_json::from_str(&tokenizer().to_json().unwrap()).unwrap();
    json["added_tokens"]
        .as_array_mut()
        .unwrap()
        .retain(|token| token["id"].as_u64().unwrap() < u64::from(first));
    Tokenizer::from_json("bare", json.to_string().as_bytes()).unwrap()
}

#[test]
fn the_tokens_of_turns_are_found() {
    let found = check_tokens(&tokenizer()).unwrap();
    assert_eq!(
        found,
        ChatTokens {
            im_start: 1020,
            im_end: 1021
        }
    );
}

#[test]
fn missing_tokens_are_named_with_the_way_to_add_them() {
    let error = check_tokens(&without(1020)).unwrap_err();
    assert!(matches!(&error, ChatError::MissingTokens { missing, .. } if missing.len() == 2));
    let text = error.to_string();
    for says in [
        "`bare`",
        "`<|im_start|>`, `<|im_end|>`",
        "smollm3 tokenizer add-chat-tokens CHECKPOINT --out DIR",
    ] {
        assert!(text.contains(says), "{text}");
    }
    let text = check_tokens(&without(1021)).unwrap_err().to_string();
    assert!(
        text.contains("`<|im_end|>`") && !text.contains("`<|im_start|>`"),
        "{text}"
    );
}

#[test]
fn tokens_are_added_behind_the_vocabulary() {
    let names = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"];
    for first in 1020..=1024 {
        let bare = without(first);
        let (full, added) = add_chat_tokens(&bare).unwrap();
        let expected: Vec<(String, u32)> = names
            .iter()
            .map(|name| name.to_string())
            .zip(1020..)
            .skip(first as usize - 1020)
            .collect();
        assert_eq!(added, expected);
        assert_eq!(full.info(), tokenizer().info());
        assert_eq!(check_tokens(&full).unwrap(), check_tokens(&tokenizer()).unwrap());
        let text = "<|im_start|>user\n<think>é</think><|im_end|>";
        assert_eq!(full.encode(text).unwrap(), tokenizer().encode(text).unwrap());
        // The markers are left out of decoded text, the thinking tags are part of it.
        assert_eq!(
            full.decode(&full.encode(text).unwrap(), true).unwrap(),
            "user\n<think>é</think>"
        );
        assert_eq!(add_chat_tokens(&full).unwrap().1, []);
    }
}

#[test]
fn an_entry_that_is_not_parsed_counts_as_missing_and_keeps_its_id() {
    let mut json: serde_json::Value = serde_json::from_str(&without(1020).to_json().unwrap()).unwrap();
    let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
    let entry = vocabulary
        .iter()
        .max_by_key(|(_, id)| id.as_u64())
        .map(|(token, id)| (token.clone(), id.clone()))
        .unwrap();
    vocabulary.remove(&entry.0);
    vocabulary.insert("<|im_start|>".into(), entry.1.clone());
    json["model"]["merges"].as_array_mut().unwrap().retain(|merge| {
        let joined: String = merge
            .as_array()
            .unwrap()
            .iter()
            .map(|half| half.as_str().unwrap())
            .collect();
        joined != entry.0
    });
    let odd = Tokenizer::from_json("odd", json.to_string().as_bytes()).unwrap();
    assert!(odd.info().im_start.is_some());
    assert!(
        check_tokens(&odd)
            .unwrap_err()
            .to_string()
            .contains("`<|im_start|>`")
    );
    let (full, added) = add_chat_tokens(&odd).unwrap();
    assert_eq!(u64::from(added[0].1), entry.1.as_u64().unwrap());
    assert_eq!(check_tokens(&full).unwrap().im_start, added[0].1);
}
