//! Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): `y = W·x + scale · B·A·x` with `W` frozen.
//!
//! Only `A` and `B` are trained, so that moments and gradients that are kept are those of a few million numbers. `B`
//! begins at zero and `A` as PEFT has it, uniform within `1/√in`, so that a model with fresh adapters is the model
//! without.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smollm3_recipe::Lora;

use crate::{Adapter, Block, Linear, ParameterError, Parameters, SmolLm3};

/// The values of fresh adapters, by name: a function of the seed.
#[derive(Debug, Clone, Copy)]
pub struct FreshAdapters {
    /// Another seed gives other adapters.
    pub seed: u64,
}

impl Parameters for FreshAdapters {
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        let count: usize = shape.iter().product();
        let values = match name.ends_with("lora_A.weight") {
            false => vec![0.0; count],
            true => {
                let bound = (shape.last().copied().unwrap_or(1) as f32).powf(-0.5);
                let key = blake3::hash(format!("{} {name}", self.seed).as_bytes());
                let mut rng = ChaCha8Rng::from_seed(*key.as_bytes());
                (0..count).map(|_| rng.random_range(-bound..bound)).collect()
            }
        };
        Ok(TensorData::new(values, shape.to_vec()))
    }
}

/// PEFT's name of one half of the adapter of a matrix.
pub(crate) fn peft_name(matrix: &str, half: char) -> String {
    format!("base_model.model.{matrix}.lora_{half}.weight")
}

impl Block {
    /// The matrices of block `layer` with their names.
    fn matrices(&mut self, layer: usize) -> [(String, &mut Linear); 7] {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let (attention, mlp) = (&mut self.self_attn, &mut self.mlp);
        [
            (name("self_attn.q_proj"), &mut attention.q_proj),
            (name("self_attn.k_proj"), &mut attention.k_proj),
            (name("self_attn.v_proj"), &mut attention.v_proj),
            (name("self_attn.o_proj"), &mut attention.o_proj),
            (name("mlp.gate_proj"), &mut mlp.gate_proj),
            (name("mlp.up_proj"), &mut mlp.up_proj),
            (name("mlp.down_proj"), &mut mlp.down_proj),
        ]
    }
}

impl SmolLm3 {
    /// The same model, frozen, with adapters whose values are those of `source` under PEFT's names.
    ///
    /// # Errors
    /// A value is missing or has another shape.
    pub fn with_adapters(
        self,
        lora: &Lora,
        source: &impl Parameters,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let mut model = self.no_grad();
        let scale = lora.scale();
        for (layer, block) in model.model.layers.iter_mut().enumerate() {
            for (name, matrix) in block.matrices(layer) {
                let part = name.rsplit('.').next().unwrap_or_default();
                if lora.targets.iter().all(|target| target != part) {
                    continue;
                }
                let [out, input] = matrix.weight.val().dims();
                matrix.adapter = Some(Adapter {
                    lora_a: source.param(&peft_name(&name, 'A'), [lora.rank, input], device)?,
                    lora_b: source.param(&peft_name(&name, 'B'), [out, lora.rank], device)?,
                    scale,
                });
            }
        }
        Ok(model)
    }

    /// Whether it has adapters.
    pub fn is_adapted(&self) -> bool {
        !self.adapters().is_empty()
    }

    /// The adapters' values under PEFT's names, and the names that the walk over parameters has for them.
    pub fn adapters(&self) -> Vec<(String, String, Tensor<2>)> {
        let mut model = self.clone();
        let mut found = Vec::new();
        for (layer, block) in model.model.layers.iter_mut().enumerate() {
            for (name, matrix) in block.matrices(layer) {
                let Some(adapter) = &matrix.adapter else { continue };
                for (half, own, value) in [('A', "lora_a", &adapter.lora_a), ('B', "lora_b", &adapter.lora_b)]
                {
                    found.push((
                        peft_name(&name, half),
                        format!("{name}.adapter.{own}"),
                        value.val(),
                    ));
                }
            }
        }
        found
    }

    /// The model without adapters that computes the same: each is added to its matrix. Without autodiff.
    pub fn merged(&self) -> Self {
        let mut model = self.valid();
        for (layer, block) in model.model.layers.iter_mut().enumerate() {
            for (_, matrix) in block.matrices(layer) {
                if let Some(adapter) = matrix.adapter.take() {
                    matrix.weight = Param::from_tensor(matrix.weight.val() + adapter.product());
                }
            }
        }
        model
    }
}
