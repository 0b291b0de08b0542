//! mergekit's configuration of a linear merge, read as it is.
//!
//! ```yaml
//! merge_method: linear
//! models:
//! - model: runs/apo          # a folder; relative to where the program is started, as in mergekit
//!   parameters:
//!     weight: 0.9
//! - model: runs/mid
//!   parameters:
//!     weight: 0.1
//! parameters:
//!   normalize: true          # the default
//! dtype: bfloat16            # what parents are rounded to; the result's format too, unless
//! out_dtype: bfloat16        # says otherwise
//! tokenizer_source: runs/apo # "base" (the first model), "union" or a folder
//! ```
//!
//! Results are mergekit 0.1.5's to the bit. Without `tokenizer_source` the tokenizer is the first model's, as there;
//! `union` is that too, because vocabularies that differ are refused. Every other key, and weights that are no plain
//! number, are errors that name the key: what is not computed must not look as if it were.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use smollm3_files::io;
use smollm3_model::hf::FileDtype;

use crate::{MergeError, MergeSettings, Result, TokenizerFrom};

/// A merge as a configuration describes it: the arguments of [`crate::merge()`].
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Folders and weights.
    pub parents: Vec<(PathBuf, f64)>,
    /// Everything else.
    pub settings: MergeSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    merge_method: String,
    models: Vec<Model>,
    #[serde(default)]
    parameters: Parameters,
    dtype: Option<Dtype>,
    out_dtype: Option<Dtype>,
    tokenizer_source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    model: PathBuf,
    parameters: ModelParameters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelParameters {
    weight: f64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Parameters {
    normalize: Option<bool>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    Float32,
    Bfloat16,
    Float16,
}

impl From<Dtype> for FileDtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Float32 => Self::F32,
            Dtype::Bfloat16 => Self::Bf16,
            Dtype::Float16 => Self::F16,
        }
    }
}

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(io("read", path))?;
        Self::parse(&text, path)
    }

    /// Parses the text of a configuration; `path` is used in messages.
    ///
    /// ```
    /// use smollm3_merge::mergekit::Configuration;
    ///
    /// let text = "
    /// merge_method: linear
    /// models:
    /// - {model: apo, parameters: {weight: 0.9}}
    /// - {model: mid, parameters: {weight: 0.1}}
    /// dtype: bfloat16
    /// ";
    /// let configuration = Configuration::parse(text, "merge.yaml".as_ref())?;
    /// assert_eq!(configuration.parents[1], ("mid".into(), 0.1));
    ///
    /// let slerp = Configuration::parse(&text.replace("linear", "slerp"), "merge.yaml".as_ref());
    /// assert_eq!(slerp.unwrap_err().to_string(), "merge.yaml: merge_method: \"slerp\" is not computed; \"linear\" is");
    /// # Ok::<(), smollm3_merge::MergeError>(())
    /// ```
    ///
    /// # Errors
    /// It is not YAML, lacks a key, has one that is not known, or a value that is not computed.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = |message: String| MergeError::Content(path.to_owned(), message);
        let value: Value = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        // First of all, since another method has other keys, and its name is the better message.
        if let Some(method) = value.get("merge_method").filter(|method| *method != "linear") {
            return Err(wrong(format!(
                "merge_method: {method} is not computed; \"linear\" is"
            )));
        }
        let document: Document =
            serde_path_to_error::deserialize(value).map_err(|error| wrong(error.to_string()))?;
        debug_assert_eq!(document.merge_method, "linear");
        let models = document.models.into_iter();
        let parents = models.map(|model| (model.model, model.parameters.weight));
        let tokenizer_from = match document.tokenizer_source.as_deref() {
            None | Some("base" | "union") => TokenizerFrom::Parent(0),
            Some(folder) => TokenizerFrom::Folder(folder.into()),
        };
        Ok(Self {
            parents: parents.collect(),
            settings: MergeSettings {
                normalise: document.parameters.normalize.unwrap_or(true),
                dtype: document.out_dtype.or(document.dtype).map(Into::into),
                // To f32 nothing is rounded.
                parents_as: document
                    .dtype
                    .map(Into::into)
                    .filter(|dtype| *dtype != FileDtype::F32),
                tokenizer_from,
                ..MergeSettings::default()
            },
        })
    }
}
