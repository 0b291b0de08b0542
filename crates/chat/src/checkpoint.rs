//! Where a Hugging Face checkpoint keeps its chat template and its special tokens.
//!
//! Newer folders have the template in a separate file, older ones in `tokenizer_config.json`, some of them several named
//! ones. Special tokens are there too, or in `special_tokens_map.json`.
//! Source: `PreTrainedTokenizerBase.from_pretrained` and `get_chat_template` in transformers.

use std::path::Path;

use serde_json::{Map, Value};
use smollm3_corpus::tokenizer::ROLES;
use smollm3_files::read_if_present;

use crate::error::{ChatError, Result};

/// What a checkpoint says about chat.
pub(crate) struct CheckpointTemplate {
    /// The file with the template.
    pub(crate) name: String,
    /// The template.
    pub(crate) default: String,
    /// The template for conversations with tools, if it differs.
    pub(crate) tool_use: Option<String>,
    /// Special tokens as text.
    pub(crate) special_tokens: Map<String, Value>,
}

/// Reads the folder; `None` if it has no template.
pub(crate) fn read(folder: &Path) -> Result<Option<CheckpointTemplate>> {
    let config_path = folder.join("tokenizer_config.json");
    let config = read_object(&config_path)?;
    let template_path = folder.join("chat_template.jinja");
    let tool_use_path = folder.join("additional_chat_templates").join("tool_use.jinja");

    let (path, default, tool_use) = match read_if_present(&template_path)? {
        Some(default) => (template_path, default, read_if_present(&tool_use_path)?),
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
    let special_tokens = ROLES.iter().filter_map(|name| {
        let token = [&config, &older]
            .into_iter()
            .find_map(|file| token(file.get(*name)?))?;
        Some((name.to_string(), Value::from(token)))
    });
    Ok(Some(CheckpointTemplate {
        name: path.display().to_string(),
        default,
        tool_use,
        special_tokens: special_tokens.collect(),
    }))
}

/// A special token: plain text, or an object with its `content`.
fn token(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

fn named_template(named: &[Value], name: &str) -> Option<String> {
    let entry = named.iter().find(|entry| entry["name"] == name)?;
    entry.get("template")?.as_str().map(str::to_owned)
}

fn read_object(path: &Path) -> Result<Map<String, Value>> {
    match read_if_present(path)? {
        None => Ok(Map::new()),
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| ChatError::checkpoint(path, format!("is not a JSON object: {error}"))),
    }
}
