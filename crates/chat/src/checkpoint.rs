//! Where a Hugging Face checkpoint keeps its chat template and its special tokens.
//!
//! Newer folders have the template in a file of its own, older ones inside `tokenizer_config.json`, some of
//! them several under names. Special tokens are there too, or in `special_tokens_map.json`.
//! Source: `PreTrainedTokenizerBase.from_pretrained` and `get_chat_template` in transformers.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{ChatError, Result};

/// The special tokens that templates are given, by the names that they have there.
const SPECIAL: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// What a checkpoint says about chat.
pub(crate) struct Found {
    /// The file with the template.
    pub(crate) name: String,
    /// The template.
    pub(crate) default: String,
    /// The template for conversations with tools, where it is another.
    pub(crate) tool_use: Option<String>,
    /// Special tokens as text.
    pub(crate) special_tokens: Map<String, Value>,
}

/// Reads the folder; `None` where it has no template.
pub(crate) fn read(folder: &Path) -> Result<Option<Found>> {
    let config_path = folder.join("tokenizer_config.json");
    let config = read_object(&config_path)?;
    let template_path = folder.join("chat_template.jinja");
    let tool_use_path = folder.join("additional_chat_templates").join("tool_use.jinja");

    let (path, default, tool_use) = match read_text(&template_path)? {
        Some(default) => (template_path, default, read_text(&tool_use_path)?),
        None => match config.get("chat_template") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(default)) => (config_path, default.clone(), None),
            Some(Value::Array(named)) => {
                let Some(default) = named_template(named, "default") else {
                    let problem = "has several chat templates and none is called `default`; name one so";
                    return Err(ChatError::checkpoint(&config_path, problem));
                };
                (config_path, default, named_template(named, "tool_use"))
            }
            Some(_) => {
                let problem = "has a `chat_template` that is neither a string nor a list of named ones";
                return Err(ChatError::checkpoint(&config_path, problem));
            }
        },
    };

    let older = read_object(&folder.join("special_tokens_map.json"))?;
    let mut special_tokens = Map::new();
    for name in SPECIAL {
        if let Some(token) = [&config, &older]
            .into_iter()
            .find_map(|file| token(file.get(name)?))
        {
            special_tokens.insert(name.to_owned(), Value::from(token));
        }
    }
    Ok(Some(Found {
        name: path.display().to_string(),
        default,
        tool_use,
        special_tokens,
    }))
}

/// A special token: plain text, or an object with its `content`.
fn token(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

fn named_template(named: &[Value], name: &str) -> Option<String> {
    let entry = named
        .iter()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))?;
    entry.get("template")?.as_str().map(str::to_owned)
}

fn read_object(path: &Path) -> Result<Map<String, Value>> {
    match read_text(path)? {
        None => Ok(Map::new()),
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| ChatError::checkpoint(path, format!("is no JSON object: {error}"))),
    }
}

fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChatError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}
