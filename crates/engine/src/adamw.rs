//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over named parameters, as PyTorch computes it.
//!
//! Burn's own optimizer has other defaults (epsilon 1e-5, beta2 0.999), no groups by name and no global clip, and
//! keys its state by parameter ids that do not survive a restart; this one keys everything by the checkpoint's
//! names. Moments are flat `f32` tensors beside the parameters: 8 bytes a parameter.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use smollm3_kernels::{AdamWStep, adamw};
use smollm3_model::hf::{FileDtype, NamedTensor, Values};
use smollm3_model::{MapParameters, ParameterError, Parameters, SmolLm3, map_parameters};
use smollm3_recipe::Optimizer;

use crate::AccumulatedGradients;

/// First and second moment of one parameter.
#[derive(Debug, Clone)]
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
}

/// The optimizer and its state.
#[derive(Debug, Clone)]
pub struct AdamW {
    settings: Optimizer,
    /// Updates done, the exponent of the bias correction.
    updates: u64,
    moments: BTreeMap<String, Moments>,
}

const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";

impl AdamW {
    /// An optimizer that has seen nothing.
    pub fn new(settings: Optimizer) -> Self {
        Self {
            settings,
            updates: 0,
            moments: BTreeMap::new(),
        }
    }

    /// An optimizer with the moments of `source` for parameters of these names and shapes.
    ///
    /// # Errors
    /// A moment is missing or has another shape.
    pub fn restore(
        settings: Optimizer,
        updates: u64,
        shapes: &[(String, Vec<usize>)],
        source: &impl Parameters,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let mut moments = BTreeMap::new();
        if updates > 0 {
            for (name, shape) in shapes {
                let count = shape.iter().product();
                let read = |kind: &str| -> Result<Tensor<1>, ParameterError> {
                    let data: TensorData = source.parameter(&format!("{kind}{name}"), &[count])?;
                    Ok(Tensor::from_data(data, device))
                };
                moments.insert(
                    name.clone(),
                    Moments {
                        first: read(FIRST)?,
                        second: read(SECOND)?,
                    },
                );
            }
        }
        Ok(Self {
            settings,
            updates,
            moments,
        })
    }

    /// Updates done.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The moments for writing, flat, called `exp_avg.NAME` and `exp_avg_sq.NAME`.
    pub fn state(&self) -> Vec<NamedTensor> {
        let entry = |name: String, value: &Tensor<1>| {
            let value = value.clone();
            NamedTensor {
                name,
                shape: value.dims().to_vec(),
                dtype: FileDtype::F32,
                values: Values::Later(Box::new(move || value.to_data().iter::<f32>().collect())),
            }
        };
        self.moments
            .iter()
            .flat_map(|(name, moments)| {
                [
                    entry(format!("{FIRST}{name}"), &moments.first),
                    entry(format!("{SECOND}{name}"), &moments.second),
                ]
            })
            .collect()
    }

    /// The factor that brings a gradient norm down to the clip: `min(1, clip / (norm + 1e-6))`, PyTorch's
    /// `clip_grad_norm_`.
    pub fn clip_factor(&self, norm: f64) -> f64 {
        self.settings
            .clip
            .map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0))
    }

    /// One update of every parameter that has a gradient. Gradients are multiplied by `scale` first.
    pub fn update(
        &mut self,
        model: SmolLm3,
        gradients: AccumulatedGradients,
        scale: f64,
        learning_rate: f64,
    ) -> SmolLm3 {
        self.updates += 1;
        let exponent = self.updates as f64;
        let [beta1, beta2] = self.settings.betas;
        let mut update = Update {
            settings: &self.settings,
            moments: &mut self.moments,
            gradients,
            scale,
            learning_rate,
            first_correction: 1.0 - beta1.powf(exponent),
            second_correction: (1.0 - beta2.powf(exponent)).sqrt(),
        };
        map_parameters(model, &mut update)
    }
}

struct Update<'a> {
    settings: &'a Optimizer,
    moments: &'a mut BTreeMap<String, Moments>,
    gradients: AccumulatedGradients,
    scale: f64,
    learning_rate: f64,
    first_correction: f64,
    second_correction: f64,
}

impl MapParameters for Update<'_> {
    fn map<const D: usize>(&mut self, name: &str, value: Tensor<D>) -> Tensor<D> {
        let Some(gradient) = self.gradients.remove(name) else {
            return value;
        };
        let (shape, count) = (value.dims(), value.shape().num_elements());
        let zeros = || gradient.zeros_like();
        let (first, second) = match self.moments.remove(name) {
            Some(Moments { first, second }) => (first, second),
            None => (zeros(), zeros()),
        };
        let decay = match self.settings.decays(name) {
            true => self.settings.weight_decay,
            false => 0.0,
        };
        let [beta1, beta2] = self.settings.betas;
        let step = AdamWStep {
            betas: [beta1 as f32, beta2 as f32],
            scale: self.scale as f32,
            keep: (1.0 - self.learning_rate * decay) as f32,
            rate: (self.learning_rate / self.first_correction) as f32,
            second_correction: self.second_correction as f32,
            epsilon: self.settings.epsilon as f32,
        };
        let [value, first, second] = adamw([value.reshape([count]), first, second], gradient, step);
        self.moments.insert(name.to_owned(), Moments { first, second });
        value.reshape(shape)
    }
}
