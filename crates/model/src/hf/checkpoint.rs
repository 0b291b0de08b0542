//! A checkpoint folder as transformers writes it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use smollm3_recipe::{ModelConfig, ModelConfigError, PeftError, Spelling};

use super::{FileDtype, NamedTensor, ShardError, TensorFiles, generation_json, to_f32, write_shards};
use crate::{NamedParameters, ParameterError, Rounded, SmolLm3, named_parameters};

/// A checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// `config.json`.
    #[error(transparent)]
    Config(#[from] ModelConfigError),
    /// The tensor files.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// One tensor.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// `adapter_config.json`, or tensors of an adapter.
    #[error(transparent)]
    Adapter(#[from] PeftError),
    /// A tensor that the configured model has no place for.
    #[error("{path}: tensor \"{name}\" has no place in a model of this config.json", path = .path.display())]
    Unexpected {
        /// The folder.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A tied model whose head is not its embedding.
    #[error(
        "{path}: config.json says tie_word_embeddings, but lm_head.weight differs from model.embed_tokens.weight; \
         write \"tie_word_embeddings\": false to keep the head, as transformers 5 does, or remove lm_head.weight",
        path = .path.display()
    )]
    TwoHeads {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the folder cannot be written.
    #[error("{path}: cannot write: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// An opened checkpoint: its architecture and its mapped tensors.
#[derive(Debug)]
pub struct Checkpoint {
    /// The architecture.
    pub config: ModelConfig,
    /// The tensors.
    pub tensors: TensorFiles,
}

impl Checkpoint {
    /// Opens a folder and checks that names and shapes are those of its `config.json`.
    ///
    /// A tied checkpoint may repeat its embedding as `lm_head.weight`, and old ones carry `rotary_emb.inv_freq`
    /// buffers; both are ignored.
    ///
    /// # Errors
    /// Files are missing or damaged, a tensor is missing, superfluous or of another shape, or the head of a tied model is
    /// not its embedding.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let config = ModelConfig::from_hf_file(&folder.join("config.json"))?;
        let tensors = TensorFiles::open(folder, "model")?;
        let shapes = config.parameter_shapes();
        let known: HashSet<&str> = shapes.iter().map(|(name, _)| name.as_str()).collect();
        let passed_over = |name: &str| name == HEAD || name.ends_with("rotary_emb.inv_freq");
        let superfluous: Vec<&str> = tensors
            .names()
            .filter(|name| !known.contains(name) && !passed_over(name))
            .collect();
        for (name, shape) in &shapes {
            tensors
                .check(name, shape)
                .map_err(|error| with_hint(error, &superfluous))?;
        }
        if let Some(name) = superfluous.first() {
            return Err(CheckpointError::Unexpected {
                path: folder.to_owned(),
                name: (*name).to_owned(),
            });
        }
        if config.tie_word_embeddings && !same_values(&tensors, HEAD, EMBEDDING) {
            return Err(CheckpointError::TwoHeads {
                path: folder.to_owned(),
            });
        }
        Ok(Self { config, tensors })
    }

    /// The model on `device`.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn model(&self, device: &Device) -> Result<SmolLm3, CheckpointError> {
        Ok(SmolLm3::new(&self.config, &self.tensors, device)?)
    }

    /// The model on `device` for use, not for training: its matrices are held in `precision` too.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn model_in(&self, precision: DType, device: &Device) -> Result<SmolLm3, CheckpointError> {
        let source = Rounded {
            source: &self.tensors,
            dtype: precision,
        };
        Ok(SmolLm3::new(&self.config, &source, device)?.with_precision(precision))
    }
}

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// Whether a tensor is not there, or holds the numbers of the other.
fn same_values(tensors: &TensorFiles, repeated: &str, original: &str) -> bool {
    let (Some((info, bytes)), Some((other, others))) = (tensors.get(repeated), tensors.get(original)) else {
        return true;
    };
    if info.shape != other.shape {
        return false;
    }
    if info.dtype == other.dtype {
        return bytes == others;
    }
    match (to_f32(info.dtype, bytes), to_f32(other.dtype, others)) {
        (Ok(values), Ok(others)) => values == others,
        _ => false,
    }
}

/// Names the superfluous tensor whose name is nearest to that of a missing one.
fn with_hint(error: ParameterError, superfluous: &[&str]) -> ParameterError {
    let ParameterError::Missing { place, name, .. } = error else {
        return error;
    };
    let near = superfluous
        .iter()
        .min_by_key(|other| strsim::damerau_levenshtein(&name, other));
    let hint = near.map_or_else(String::new, |other| {
        format!("; \"{other}\" is there and has no place in the model")
    });
    ParameterError::Missing { place, name, hint }
}

/// Largest file that [`save`] writes, transformers' default.
const SHARD_BYTES: usize = 5_000_000_000;

/// Writes `config.json`, `generation_config.json` and the weights into an existing folder.
///
/// # Errors
/// A file cannot be written.
pub fn save(
    folder: &Path,
    config: &ModelConfig,
    model: &SmolLm3,
    dtype: FileDtype,
) -> Result<(), CheckpointError> {
    save_tensors(folder, config, &tensors(model, dtype), dtype)
}

/// The weights of a model for writing.
pub fn tensors(model: &SmolLm3, dtype: FileDtype) -> Vec<NamedTensor> {
    let mut tensors = Collect {
        dtype,
        tensors: Vec::new(),
    };
    named_parameters(model, &mut tensors);
    tensors.tensors
}

/// [`save`] for weights that have been taken out of the model.
///
/// # Errors
/// A file cannot be written.
pub fn save_tensors(
    folder: &Path,
    config: &ModelConfig,
    tensors: &[NamedTensor],
    dtype: FileDtype,
) -> Result<(), CheckpointError> {
    let write = |name: &str, value: serde_json::Value| {
        let path = folder.join(name);
        fs::write(&path, format!("{value:#}\n")).map_err(|source| CheckpointError::Write { path, source })
    };
    write(
        "config.json",
        config.to_hf_json(Spelling::default(), dtype.name()),
    )?;
    write("generation_config.json", generation_json(config, None)?)?;
    Ok(write_shards(folder, "model", tensors, SHARD_BYTES)?)
}

/// Gathers a module's parameters for writing; values stay on the device until their turn.
struct Collect {
    dtype: FileDtype,
    tensors: Vec<NamedTensor>,
}

impl NamedParameters for Collect {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        self.tensors
            .push(NamedTensor::later(name.to_owned(), param.val(), self.dtype));
    }
}
