//! `generation_config.json`: how a checkpoint is meant to be continued.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use smollm3_recipe::{ModelConfig, ModelConfigError, TokenIds};

use crate::Sampling;

const FILE: &str = "generation_config.json";

/// What a checkpoint says about its own continuation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Any of these tokens ends a text: those of `generation_config.json`, else those of `config.json`.
    pub end_tokens: Vec<u32>,
    /// How tokens are drawn: greedily, unless `generation_config.json` says `do_sample`.
    pub sampling: Sampling,
}

/// The keys of `generation_config.json` about sampling.
#[derive(Debug, Default, Deserialize)]
struct Keys {
    do_sample: Option<bool>,
    temperature: Option<f64>,
    #[serde(default = "usual_top_k")]
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

/// transformers' default where the key is absent; `null` is none.
fn usual_top_k() -> Option<usize> {
    Some(50)
}

impl GenerationConfig {
    /// Reads `generation_config.json` of a folder, if it has one, and the end tokens of its `config.json`.
    ///
    /// # Errors
    /// A file cannot be read, or a number in it is out of its range.
    pub fn of_checkpoint(folder: &Path) -> Result<Self, ModelConfigError> {
        let end_tokens = end_tokens(folder)?;
        let path = folder.join(FILE);
        let sampling = read::<Keys>(&path)?.map_or_else(Sampling::default, |keys| keys.sampling());
        match sampling.problem() {
            None => Ok(Self { end_tokens, sampling }),
            Some((key, value, due)) => Err(ModelConfigError::Invalid {
                path,
                message: format!("{key} = {value}; it must be {due}"),
            }),
        }
    }
}

impl Keys {
    fn sampling(&self) -> Sampling {
        let greedy = Sampling {
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            ..Sampling::default()
        };
        match self.do_sample {
            Some(true) => Sampling {
                temperature: self.temperature.unwrap_or(1.0),
                top_k: self.top_k.unwrap_or(0),
                top_p: self.top_p.unwrap_or(1.0),
                min_p: self.min_p.unwrap_or(0.0),
                ..greedy
            },
            _ => greedy,
        }
    }
}

/// The `generation_config.json` of a model with this `config`: the settings of the folder that it was trained `from`, whose
/// end tokens still end a text.
///
/// # Errors
/// As [`GenerationConfig::of_checkpoint`].
pub fn generation_json(config: &ModelConfig, from: Option<&Path>) -> Result<Value, ModelConfigError> {
    let mut settings = Map::new();
    let mut ends: Vec<u32> = config.eos_token_id.into_iter().collect();
    if let Some(folder) = from {
        settings = read(&folder.join(FILE))?.unwrap_or_default();
        let known = end_tokens(folder)?.into_iter();
        ends.extend(known.filter(|id| Some(*id) != config.eos_token_id));
    }
    let end = match ends.as_slice() {
        [] => Value::Null,
        [end] => json!(end),
        several => json!(several),
    };
    settings.insert("eos_token_id".to_owned(), end);
    for (key, id) in [
        ("bos_token_id", config.bos_token_id),
        ("pad_token_id", config.pad_token_id),
    ] {
        if id.is_some() || !settings.contains_key(key) {
            settings.insert(key.to_owned(), json!(id));
        }
    }
    Ok(Value::Object(settings))
}

/// The end tokens of a folder. As in transformers, a `generation_config.json` without any leaves those of `config.json`.
fn end_tokens(folder: &Path) -> Result<Vec<u32>, ModelConfigError> {
    #[derive(Default, Deserialize)]
    struct Ends {
        #[serde(default)]
        eos_token_id: TokenIds,
    }
    let of_file = |name| -> Result<Vec<u32>, ModelConfigError> {
        Ok(read::<Ends>(&folder.join(name))?
            .unwrap_or_default()
            .eos_token_id
            .0)
    };
    let ends = of_file(FILE)?;
    if ends.is_empty() {
        of_file("config.json")
    } else {
        Ok(ends)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelConfigError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ModelConfigError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| ModelConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        })
}
