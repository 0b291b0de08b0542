//! Where the fixtures are, and what they have in common.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use smollm3_chat::{Conversation, NaiveDate, Render, Template};
use smollm3_corpus::Tokenizer;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// A JSON file.
pub fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// A tokenizer of 1,024 entries with chat tokens.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::load(path("tokenizer/tokenizer.json")).unwrap()
}

/// The date on which the fixtures were made.
pub fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 7, 8).unwrap()
}

/// A whole conversation on that date.
pub fn dated() -> Render {
    Render {
        date: Some(date()),
        ..Render::default()
    }
}

/// The built-in template that a fixture calls by `name`.
pub fn template(name: &str) -> Template {
    match name {
        "sft" => Template::smollm3(),
        "mid" => Template::chatml(),
        other => panic!("no template {other}"),
    }
}

/// The conversation of a fixture's case.
pub fn conversation(case: &Value) -> Conversation {
    Conversation {
        messages: case["messages"].as_array().unwrap().clone(),
        tools: case["tools"].as_array().cloned(),
        template_kwargs: case["kwargs"].as_object().cloned().unwrap_or_default(),
    }
}

/// How a fixture's case is rendered.
pub fn options(case: &Value) -> Render {
    Render {
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        continue_final_message: case["continue_final_message"].as_bool().unwrap(),
        date: Some(date()),
    }
}

/// Byte ranges as the fixtures write them.
pub fn spans(rendered: &smollm3_chat::Rendered) -> Value {
    rendered
        .assistant
        .iter()
        .map(|span| json!([span.start, span.end]))
        .collect()
}

/// A conversation of (role, content) without tools.
pub fn talk(messages: &[(&str, &str)]) -> Conversation {
    Conversation {
        messages: messages
            .iter()
            .map(|(role, content)| json!({"role": role, "content": content}))
            .collect(),
        tools: None,
        template_kwargs: Map::new(),
    }
}
