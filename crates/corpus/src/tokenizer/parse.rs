//! `tokenizer.json`, read as transformers uses it: without settings for training or for batches.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::ModelWrapper;

use crate::contained::contained;
use crate::error::{CorpusError, Result};

/// Reads the contents of a `tokenizer.json`; `name` is used in messages.
///
/// # Errors
/// It is no tokenizer.
pub(super) fn parse(name: &str, json: &[u8]) -> Result<tokenizers::Tokenizer> {
    read(json).map_err(|problem| CorpusError::tokenizer(name, format!("not a tokenizer.json: {problem}")))
}

/// The crate panics on a decoder that it cannot parse, as in a truncated file, so that is parsed first.
fn read(json: &[u8]) -> std::result::Result<tokenizers::Tokenizer, String> {
    #[derive(Deserialize)]
    struct Checked {
        #[serde(default)]
        decoder: Value,
    }
    let Checked { decoder } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if !matches!(decoder, Value::Null | Value::Object(_)) {
        return Err("its decoder is not a JSON object".to_owned());
    }
    let parsed = contained(|| tokenizers::Tokenizer::from_bytes(json))?;
    let mut tokenizer = parsed.map_err(|error| error.to_string())?;
    // As in transformers: texts are neither truncated nor padded unless the caller asks for it.
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| error.to_string())?;
    // A setting for training, with which the same text has other ids each time.
    if let ModelWrapper::BPE(model) = tokenizer.get_model()
        && model.dropout.is_some()
    {
        let mut model = model.clone();
        model.dropout = None;
        tokenizer.with_model(ModelWrapper::BPE(model));
    }
    Ok(tokenizer)
}
