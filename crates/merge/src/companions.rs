//! The files besides the weights: copied from a parent, with the result's format in `config.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use smollm3_files::atomic_folder::AtomicFolder;
use smollm3_files::io;
use smollm3_model::hf::{FileDtype, TOKENIZER_FILES};

use crate::coefficients::Coefficients;
use crate::parent::Parent;
use crate::{MergeError, Result, TokenizerFrom};

/// The folders whose files the result gets.
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
    /// A parent or a folder that is named does not exist, or the folder has no tokenizer.
    pub fn choose(from: &TokenizerFrom, parents: &[Parent], weights: &Coefficients) -> Result<Self> {
        let parent = |number: usize| match parents.get(number) {
            Some(parent) => Ok(parent.folder.clone()),
            None => Err(MergeError::NoSuchParent {
                number,
                parents: parents.len(),
            }),
        };
        let configuration = match from {
            TokenizerFrom::Parent(number) => parent(*number)?,
            TokenizerFrom::Folder(folder) if parents.iter().any(|parent| parent.folder == *folder) => {
                folder.clone()
            }
            TokenizerFrom::LargestWeight | TokenizerFrom::Folder(_) => parent(weights.largest())?,
        };
        let tokenizer = match from {
            TokenizerFrom::Folder(folder) => folder.clone(),
            _ => configuration.clone(),
        };
        if tokenizer != configuration {
            let file = tokenizer.join("tokenizer.json");
            file.metadata().map_err(io("read", &file))?;
        }
        Ok(Self {
            configuration,
            tokenizer,
        })
    }

    /// Puts them into the draft.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn copy(&self, draft: &AtomicFolder, dtype: FileDtype) -> Result<()> {
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

/// The text as it is if it names the format already, else with the one key changed.
fn with_dtype(path: &Path, text: Vec<u8>, dtype: FileDtype) -> Result<Vec<u8>> {
    let content = |message: String| MergeError::Content(path.to_owned(), message);
    let mut json: Value = serde_json::from_slice(&text).map_err(|error| content(error.to_string()))?;
    let object = json
        .as_object_mut()
        .ok_or_else(|| content("not a JSON object".to_owned()))?;
    // transformers 5 spells it `dtype`; keep what is there.
    let before = object.clone();
    if !object.contains_key("dtype") {
        object.insert("torch_dtype".to_owned(), dtype.name().into());
    }
    for key in ["dtype", "torch_dtype"] {
        if let Some(value) = object.get_mut(key) {
            *value = dtype.name().into();
        }
    }
    match *object == before {
        true => Ok(text),
        false => Ok(format!("{json:#}\n").into_bytes()),
    }
}

fn copy(from: &Path, name: &str, draft: &AtomicFolder) -> Result<()> {
    let path = from.join(name);
    if !path.is_file() {
        return Ok(());
    }
    let bytes = fs::read(&path).map_err(io("read", &path))?;
    Ok(draft.write(name, &bytes)?)
}
