//! Whether parents can be merged: they need one architecture, and one meaning for each row of the embedding.
//!
//! Architectures are compared as `config.json` spells them, so that the first difference is named as in the file. The
//! initialisation and the tokens that begin or end a text may differ, and so may tokenizers, as long as every id is the same
//! token in both.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use smollm3_files::io;
use smollm3_model::ModelConfig;
use smollm3_recipe::Spelling;

use crate::{MergeError, Result};

/// Fields that do not change what the weights mean.
const MAY_DIFFER: [&str; 4] = [
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
];

/// Checks that two parents have one architecture.
///
/// # Errors
/// The first field that differs.
pub(crate) fn same_architecture(first: (&Path, &ModelConfig), other: (&Path, &ModelConfig)) -> Result<()> {
    let json = |config: &ModelConfig| config.to_hf_json(Spelling::Transformers4, "");
    let (a, b) = (json(first.1), json(other.1));
    let objects = a.as_object().into_iter().chain(b.as_object());
    let keys = objects.flat_map(|object| object.keys());
    for key in keys.filter(|key| !MAY_DIFFER.contains(&key.as_str())) {
        let [x, y] = [&a, &b].map(|config| config.get(key).unwrap_or(&Value::Null));
        if x != y {
            return Err(MergeError::ConfigDiffers {
                field: key.clone(),
                first: first.0.to_owned(),
                first_value: x.to_string(),
                other: other.0.to_owned(),
                other_value: y.to_string(),
            });
        }
    }
    Ok(())
}

/// Checks that every id is the same token in the `tokenizer.json` of all folders that have one, and has one of the `rows` of
/// the embedding.
///
/// # Errors
/// The smallest id that differs, an id without a row, or a file that is no tokenizer.
pub(crate) fn same_vocabulary<'a>(folders: impl IntoIterator<Item = &'a Path>, rows: usize) -> Result<()> {
    let mut first: Option<(PathBuf, Vec<u8>, BTreeMap<u64, String>)> = None;
    for folder in folders {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            continue;
        }
        let text = fs::read(&path).map_err(io("read", &path))?;
        let Some((known_path, known_text, known)) = &first else {
            let tokens = tokens(&path, &text)?;
            if let Some((&highest, _)) = tokens.last_key_value()
                && highest >= rows as u64
            {
                return Err(MergeError::Vocabulary { path, highest, rows });
            }
            first = Some((path, text, tokens));
            continue;
        };
        if *known_text == text {
            continue;
        }
        let found = tokens(&path, &text)?;
        let ids = known.keys().chain(found.keys());
        let Some(id) = ids.filter(|id| known.get(id) != found.get(id)).min() else {
            continue;
        };
        let token = |tokens: &BTreeMap<u64, String>| match tokens.get(id) {
            Some(token) => format!("{token:?}"),
            None => "nothing".to_owned(),
        };
        return Err(MergeError::VocabularyDiffers {
            id: *id,
            first: known_path.clone(),
            first_token: token(known),
            other: path,
            other_token: token(&found),
        });
    }
    Ok(())
}

/// Token of each id: the model's vocabulary, and what was added to it.
fn tokens(path: &Path, text: &[u8]) -> Result<BTreeMap<u64, String>> {
    let wrong = |message: &str| MergeError::Content(path.to_owned(), message.to_owned());
    let json: Value = serde_json::from_slice(text).map_err(|error| wrong(&error.to_string()))?;
    let vocabulary = json.pointer("/model/vocab");
    let mut tokens = BTreeMap::new();
    match vocabulary {
        Some(Value::Object(vocabulary)) => {
            for (token, id) in vocabulary {
                let id = id
                    .as_u64()
                    .ok_or_else(|| wrong("an id in model.vocab is not a number"))?;
                tokens.insert(id, token.clone());
            }
        }
        // Unigram models: token and score, the id is the place in the list.
        Some(Value::Array(vocabulary)) => {
            for (id, entry) in vocabulary.iter().enumerate() {
                let token = entry.get(0).and_then(Value::as_str);
                let token = token.ok_or_else(|| wrong("an entry of model.vocab has no token"))?;
                tokens.insert(id as u64, token.to_owned());
            }
        }
        _ => return Err(wrong("no model.vocab; this is not a tokenizer")),
    }
    let added = json.get("added_tokens").and_then(Value::as_array);
    for entry in added.into_iter().flatten() {
        let id = entry.get("id").and_then(Value::as_u64);
        let token = entry.get("content").and_then(Value::as_str);
        let (Some(id), Some(token)) = (id, token) else {
            return Err(wrong("an entry of added_tokens has no id or no content"));
        };
        tokens.insert(id, token.to_owned());
    }
    Ok(tokens)
}
