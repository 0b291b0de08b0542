//! An adapter's folder as Python's PEFT writes it: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! [`AdapterFiles`] gives the adapters' values under PEFT's names; [`AdapterFiles::merged`] gives those of the base with the
//! adapters added, one tensor at a time, so that a large model is never in memory for it. The sums are f32, in a fixed order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::TensorData;
use smollm3_recipe::{Lora, LoraInit, ModelConfig, PeftConfig, PeftError};

use super::{CheckpointError, TensorFiles};
use crate::lora::peft_name;
use crate::{ParameterError, Parameters};

/// Name of the tensor files.
const STEM: &str = "adapter_model";

/// An opened adapter, whose tensors fit the matrices of its base.
#[derive(Debug)]
pub struct AdapterFiles {
    /// What `adapter_config.json` says.
    pub config: PeftConfig,
    tensors: TensorFiles,
    /// The layers of each kind of matrix that has an adapter.
    layers: BTreeMap<String, BTreeSet<usize>>,
}

impl AdapterFiles {
    /// Opens an adapter of a model of this architecture.
    ///
    /// # Errors
    /// A file is missing or damaged, the adapter is of a kind that is not supported, or of other matrices than those of the
    /// model's layers.
    pub fn open(folder: &Path, base: &ModelConfig) -> Result<Self, CheckpointError> {
        let config = PeftConfig::read(folder)?;
        let refuse = |message: String| -> CheckpointError {
            let path = folder.join(format!("{STEM}.safetensors"));
            PeftError { path, message }.into()
        };
        if !folder.join(format!("{STEM}.safetensors")).is_file()
            && folder.join(format!("{STEM}.bin")).is_file()
        {
            return Err(refuse(
                "the adapter is a .bin file, which is not read; save it again in Python with a newer PEFT, which writes \
                 safetensors"
                    .to_owned(),
            ));
        }
        let tensors = TensorFiles::open(folder, STEM)?;
        let sides: BTreeMap<String, Vec<usize>> = base
            .parameter_shapes()
            .into_iter()
            .filter(|(name, shape)| name.starts_with("model.layers.") && shape.len() == 2)
            .filter_map(|(name, shape)| Some((name.strip_suffix(".weight")?.to_owned(), shape)))
            .collect();
        let mut layers: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for name in tensors.names() {
            let matrix = name.strip_prefix("base_model.model.").and_then(|rest| {
                rest.strip_suffix(".lora_A.weight")
                    .or_else(|| rest.strip_suffix(".lora_B.weight"))
            });
            let found = matrix.and_then(|matrix| Some((matrix, sides.get(matrix)?)));
            let Some((matrix, shape)) = found else {
                return Err(refuse(format!(
                    "tensor \"{name}\": {}",
                    not_supported(name, &sides)
                )));
            };
            for (half, dims) in [('A', [config.rank, shape[1]]), ('B', [shape[0], config.rank])] {
                // Of floats, too.
                tensors.elements(&peft_name(matrix, half), &dims, 0..1)?;
            }
            let parts: Vec<&str> = matrix.split('.').collect();
            if let (Some(layer), Some(kind)) = (parts.get(2), parts.last()) {
                let layer = layer.parse().unwrap_or_default();
                layers.entry((*kind).to_owned()).or_default().insert(layer);
            }
        }
        if layers.is_empty() {
            return Err(refuse("there is no tensor in it".to_owned()));
        }
        Ok(Self {
            config,
            tensors,
            layers,
        })
    }

    /// The setting of a stage that trains this adapter on.
    ///
    /// # Errors
    /// Layers differ in the matrices that have adapters, in words.
    pub fn lora(&self, base: &ModelConfig) -> Result<Lora, String> {
        let all = base.num_hidden_layers;
        if let Some((kind, some)) = self.layers.iter().find(|(_, layers)| layers.len() != all) {
            return Err(format!(
                "it is of {kind} in {} of {all} layers, but all layers are trained alike; merge it (init = \"fresh\")",
                some.len()
            ));
        }
        Ok(Lora {
            rank: self.config.rank,
            alpha: self.config.alpha,
            targets: self.layers.keys().cloned().collect(),
            rslora: self.config.rslora,
            init: LoraInit::Adapter,
        })
    }

    /// The base's parameters with the adapters added to their matrices.
    pub fn merged<'a>(&'a self, base: &'a TensorFiles) -> MergedAdapter<'a> {
        MergedAdapter { adapter: self, base }
    }
}

impl Parameters for AdapterFiles {
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        self.tensors.parameter(name, shape)
    }
}

/// See [`AdapterFiles::merged`].
#[derive(Debug)]
pub struct MergedAdapter<'a> {
    adapter: &'a AdapterFiles,
    base: &'a TensorFiles,
}

impl Parameters for MergedAdapter<'_> {
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        let data = self.base.parameter(name, shape)?;
        let matrix = name.strip_suffix(".weight").unwrap_or(name);
        let (name_a, name_b) = (peft_name(matrix, 'A'), peft_name(matrix, 'B'));
        let ([out, input], Some(_)) = (shape, self.adapter.tensors.get(&name_a)) else {
            return Ok(data);
        };
        let (rank, scale) = (self.adapter.config.rank, self.adapter.config.scale() as f32);
        let floats = |data: TensorData| -> Vec<f32> { data.iter::<f32>().collect() };
        let a = floats(self.adapter.parameter(&name_a, &[rank, *input])?);
        let b = floats(self.adapter.parameter(&name_b, &[*out, rank])?);
        let mut values = floats(data);
        let mut product = vec![0.0f32; *input];
        for (row, factors) in values.chunks_exact_mut(*input).zip(b.chunks_exact(rank)) {
            product.fill(0.0);
            for (factor, a) in factors.iter().zip(a.chunks_exact(*input)) {
                for (sum, a) in product.iter_mut().zip(a) {
                    *sum += factor * a;
                }
            }
            for (value, product) in row.iter_mut().zip(&product) {
                *value += scale * product;
            }
        }
        Ok(TensorData::new(values, shape.to_vec()))
    }
}

/// Why a tensor is not read.
fn not_supported(name: &str, sides: &BTreeMap<String, Vec<usize>>) -> String {
    if name.contains("lora_magnitude_vector") {
        return "this is DoRA, which is not supported; merge the adapter in Python (PEFT: merge_and_unload)"
            .to_owned();
    }
    if name.contains("lora_embedding_") || name.contains("embed_tokens") || name.contains("lm_head") {
        return "adapters of the embedding and of the head are not supported; merge the adapter in Python (PEFT: \
                merge_and_unload)"
            .to_owned();
    }
    let kinds: BTreeSet<&str> = sides.keys().filter_map(|name| name.rsplit('.').next()).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    format!(
        "the base has no such matrix; adapters of its {} are supported, in {} layers",
        kinds.join(", "),
        sides.len() / kinds.len().max(1)
    )
}
