//! Whether training is bitwise deterministic: `bench bits`.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use smollm3_model::{Init, ModelConfig, NamedParameters, named_parameters};

use super::{StepSettings, rows};
use crate::{Result, TrainState};

/// Steps that were trained twice from the same weights on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BitsBench {
    /// Whether the two have the same bits throughout.
    pub equal: bool,
    /// Of each time.
    pub runs: [TrainedBits; 2],
}

/// The fingerprint of a training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainedBits {
    /// Loss and gradient norm of each step.
    pub steps: Vec<[f64; 2]>,
    /// blake3 of all weights and moments after the last step.
    pub state: String,
}

/// Trains the settings' steps twice, with a position for each token of a row; both states are in memory at once.
///
/// # Errors
/// The configuration cannot be built.
pub fn bits(config: &ModelConfig, settings: &StepSettings, device: &Device) -> Result<BitsBench> {
    let rows = rows(settings, config.vocab_size);
    let start = settings.state(config, &Init::new(config, 1), device)?;
    let train = |mut state: TrainState| -> Result<TrainedBits> {
        let mut steps = Vec::new();
        for _ in 0..settings.steps {
            let (after, done) = settings.train(state, &rows, 1e-3, device)?;
            steps.push([done.loss, done.grad_norm]);
            state = after;
        }
        let mut hash = Hash(blake3::Hasher::new());
        named_parameters(&state.model, &mut hash);
        for moment in state.optimizer.state() {
            hash.add(&moment.name, &moment.read());
        }
        Ok(TrainedBits {
            steps,
            state: hash.0.finalize().to_hex().to_string(),
        })
    };
    let runs = [train(start.clone())?, train(start)?];
    let numbers = |run: &TrainedBits| -> Vec<u64> {
        let all = run.steps.iter().flatten();
        all.map(|number| number.to_bits()).collect()
    };
    Ok(BitsBench {
        equal: runs[0].state == runs[1].state && numbers(&runs[0]) == numbers(&runs[1]),
        runs,
    })
}

struct Hash(blake3::Hasher);

impl Hash {
    fn add(&mut self, name: &str, values: &[f32]) {
        self.0.update(name.as_bytes());
        self.0.update_rayon(bytemuck::cast_slice(values));
    }
}

impl NamedParameters for Hash {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let values: Vec<f32> = param.val().into_data().iter().collect();
        self.add(name, &values);
    }
}
