//! The files besides the weights: copied from one parent, `config.json` with the result's format.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use smollm3_model::hf::{FileDtype, TOKENIZER_FILES};

use crate::coefficients::Coefficients;
use crate::draft::Draft;
use crate::error::io;
use crate::parent::Parent;
use crate::{MergeError, Result, TokenizerFrom};

/// Whose files the result gets.
#[derive(Debug)]
pub(crate) struct Companions {
    configuration: PathBuf,
    /// Folder of the tokenizer.
    pub tokenizer: PathBuf,
}

impl Companions {
    /// Decides by the settings.
    ///
    /// # Errors
    /// A parent or a folder is named that is not there, or a folder without tokenizer.
    pub fn choose(from: &TokenizerFrom, parents: &[Parent], weights: &Coefficients) -> Result<Self> {
        let parent = |number: usize| match parents.get(number) {
            Some(parent) => Ok(parent.folder.clone()),
            None => Err(MergeError::NoSuchParent {
                number,
                parents: parents.len(),
            }),
        };
        let (configuration, tokenizer) = match from {
            TokenizerFrom::LargestWeight => (parent(weights.largest())?, None),
            TokenizerFrom::Parent(number) => (parent(*number)?, None),
            TokenizerFrom::Folder(folder) if parents.iter().any(|parent| parent.folder == *folder) => {
                (folder.clone(), None)
            }
            TokenizerFrom::Folder(folder) => {
                let file = folder.join("tokenizer.json");
                file.metadata().map_err(io("read", &file))?;
                (parent(weights.largest())?, Some(folder.clone()))
            }
        };
        Ok(Self {
            tokenizer: tokenizer.unwrap_or_else(|| configuration.clone()),
            configuration,
        })
    }

    /// Puts them into the draft.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn copy(&self, draft: &Draft, dtype: FileDtype) -> Result<()> {
        let path = self.configuration.join("config.json");
        let text = fs::read(&path).map_err(io("read", &path))?;
        draft.write("config.json", &with_dtype(&path, text, dtype)?)?;
        copy(&self.configuration, "generation_config.json", draft)?;
        for name in TOKENIZER_FILES {
            copy(&self.tokenizer, name, draft)?;
        }
        Ok(())
    }
}

/// The text as it is if it names the format already, otherwise with the one key changed.
fn with_dtype(path: &Path, text: Vec<u8>, dtype: FileDtype) -> Result<Vec<u8>> {
    let content = |message: String| MergeError::Content {
        path: path.to_owned(),
        message,
    };
    let mut json: Value = serde_json::from_slice(&text).map_err(|error| content(error.to_string()))?;
    let object = json
        .as_object_mut()
        .ok_or_else(|| content("not a JSON object".to_owned()))?;
    // transformers 5 spells it `dtype`; keep what is there.
    let mut keys: Vec<&str> = ["dtype", "torch_dtype"]
        .into_iter()
        .filter(|key| object.contains_key(*key))
        .collect();
    if keys.is_empty() {
        keys.push("torch_dtype");
    }
    if keys
        .iter()
        .all(|key| object.get(*key).and_then(Value::as_str) == Some(dtype.name()))
    {
        return Ok(text);
    }
    for key in keys {
        object.insert(key.to_owned(), dtype.name().into());
    }
    Ok(format!("{json:#}\n").into_bytes())
}

fn copy(from: &Path, name: &str, draft: &Draft) -> Result<()> {
    let path = from.join(name);
    if !path.is_file() {
        return Ok(());
    }
    let bytes = fs::read(&path).map_err(io("read", &path))?;
    draft.write(name, &bytes)
}
