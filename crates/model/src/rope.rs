//! Rotary angles: inverse frequencies (with YaRN) and the table of cosines and sines.
//!
//! The table is computed once on the host for every position the configuration allows and indexed by the
//! positions of a batch, which restart at each document. 64k positions of 64 angles are 32 MiB in `f32`.

use std::f64::consts::PI;

use burn::tensor::{DType, Device, Tensor, TensorData};
use smollm3_kernels::{Documents, upload};
use smollm3_recipe::{ModelConfig, Yarn};

/// Inverse frequencies `[head_dim / 2]` and the factor on cosine and sine.
///
/// Without YaRN `theta^(−2j/head_dim)` and 1. With it, dimensions that turn more than `beta_fast` times over the
/// original length stay, those that turn less than `beta_slow` times are divided by `factor`, and a linear ramp
/// lies between (transformers, `modeling_rope_utils.py`, `_compute_yarn_parameters`).
pub fn inverse_frequencies(config: &ModelConfig) -> (Vec<f32>, f64) {
    let half = config.head_dim / 2;
    let theta = config.rope_theta;
    let plain = |j: usize| theta.powf(-(j as f64) / half as f64);
    match &config.rope_scaling {
        None => ((0..half).map(|j| plain(j) as f32).collect(), 1.0),
        Some(yarn) => {
            let (low, high) = ramp(yarn, theta, config.head_dim);
            let frequency = |j: usize| {
                let interpolated = ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
                let scale = interpolated / yarn.factor + (1.0 - interpolated);
                (plain(j) * scale) as f32
            };
            ((0..half).map(frequency).collect(), yarn.attention_scaling())
        }
    }
}

/// First and last dimension of YaRN's ramp.
fn ramp(yarn: &Yarn, theta: f64, head_dim: usize) -> (f64, f64) {
    let length = yarn.original_max_position_embeddings as f64;
    // The dimension that makes `rotations` turns over the original length.
    let dimension =
        |rotations: f64| head_dim as f64 * (length / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (dimension(yarn.beta_fast), dimension(yarn.beta_slow));
    if yarn.truncate.unwrap_or(true) {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
    (low, if low == high { high + 0.001 } else { high })
}

/// Cosines and sines of every position.
#[derive(Debug, Clone)]
pub struct Rope {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rope {
    /// The table of `config` for positions `0..length`.
    pub fn new(config: &ModelConfig, length: usize, device: &Device) -> Self {
        let (frequencies, factor) = inverse_frequencies(config);
        let table = |function: fn(f32) -> f32| {
            let values: Vec<f32> = (0..length)
                .flat_map(|position| {
                    // The angle is rounded to f32 first, as transformers does.
                    frequencies
                        .iter()
                        .map(move |frequency| position as f32 * frequency)
                })
                .map(|angle| (f64::from(function(angle)) * factor) as f32)
                .collect();
            let data = TensorData::new(values, [length, frequencies.len()]);
            Tensor::from_data(data, (&device.clone().inner(), DType::F32))
        };
        Self {
            cos: table(f32::cos),
            sin: table(f32::sin),
        }
    }

    /// Number of positions in the table.
    pub fn length(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Cosines and sines of a batch, `f32`, `[batch or 1, 1, seq, head_dim / 2]` each.
    pub fn at(&self, documents: &Documents) -> (Tensor<4>, Tensor<4>) {
        let (batch, seq) = (documents.batch(), documents.seq());
        let half = self.cos.dims()[1];
        if documents.is_whole_rows() {
            let rows = |table: &Tensor<2>| table.clone().narrow(0, 0, seq).reshape([1, 1, seq, half]);
            return (rows(&self.cos), rows(&self.sin));
        }
        self.at_positions(&documents.positions(), batch)
    }

    /// Cosines and sines of `batch` rows of positions, one after the other.
    pub fn at_positions(&self, positions: &[u32], batch: usize) -> (Tensor<4>, Tensor<4>) {
        let (seq, half) = (positions.len() / batch.max(1), self.cos.dims()[1]);
        let positions = positions.iter().map(|position| *position as i32).collect();
        let positions = upload(positions, &self.cos.device());
        let rows = |table: &Tensor<2>| {
            table
                .clone()
                .select(0, positions.clone())
                .reshape([batch, 1, seq, half])
        };
        (rows(&self.cos), rows(&self.sin))
    }
}
