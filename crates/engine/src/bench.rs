//! How fast a training step is on this machine, and where its time goes: `bench step`.
//!
//! A model with random weights trains on random rows cut into documents. The parts are timed one by one, each as often
//! as a step does it; the remainder of the step is called the rest (norms, gates, rotation, the embedding,
//! Burn's graph). Utilisation is against the best matrix product found on the same device in the same call. Nothing
//! here asserts a time.

mod bits;
mod parts;

use std::time::Instant;

use burn::tensor::{DType, Device};
use serde::Serialize;
use smollm3_collective::Single;
use smollm3_kernels::{Profile, Transfers, device_memory, peak_memory, profile};
use smollm3_model::bench::median;
use smollm3_model::{DeviceInit, ModelConfig, Parameters, SmolLm3};
use smollm3_recipe::{LossAverage, Optimizer, Precision, Recompute};

use crate::run::dtype;
use crate::{
    AdamW, CrossEntropy, GlobalBatch, MicroBatch, Result, Row, StepMode, StepResult, TrainState, train_step,
};
pub use bits::{BitsBench, bits};
pub use parts::Parts;
use parts::{ceiling, layer_products, parts, wait};

/// The step to time.
#[derive(Debug, Clone)]
pub struct StepSettings {
    /// Tokens of a row.
    pub sequence_length: usize,
    /// Rows of the one micro-batch of a step.
    pub micro_batch: usize,
    /// Documents of a row.
    pub documents: usize,
    /// Dtype of matrix products.
    pub precision: Precision,
    /// What the backward pass recomputes.
    pub recompute: Recompute,
    /// Steps that are timed, after two that are not.
    pub steps: usize,
    /// Whether one more step is profiled.
    pub profile: bool,
}

impl StepSettings {
    /// A model for the settings' rows, and its optimizer.
    fn state(&self, config: &ModelConfig, source: &impl Parameters, device: &Device) -> Result<TrainState> {
        let model = SmolLm3::new(config, source, &device.clone().autodiff())?;
        Ok(TrainState {
            model: model.with_precision(dtype(self.precision)),
            optimizer: AdamW::new(Optimizer::new(1e-4)),
        })
    }

    /// One step on `rows`, which are sent to the device first.
    fn train(
        &self,
        state: TrainState,
        rows: &[Row],
        learning_rate: f64,
        device: &Device,
    ) -> Result<(TrainState, StepResult)> {
        let (own, alone) = ([MicroBatch::new(rows, device)?], Single::default());
        let batch = GlobalBatch::gather(&CrossEntropy, &own, false, &alone)?;
        let mode = StepMode {
            recompute: self.recompute,
            ..LossAverage::Tokens.into()
        };
        train_step(state, &CrossEntropy, batch, mode, learning_rate, |_| true)
    }
}

/// The result of a benchmark. Times are medians.
#[derive(Debug, Clone, Serialize)]
pub struct StepBench {
    /// Numbers in the model.
    pub parameters: u64,
    /// Tokens of a step.
    pub tokens: usize,
    /// Milliseconds of a step.
    pub step_milliseconds: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Model FLOPs of a step, forward and backward: six for each number of a matrix and token, and the attention
    /// inside documents.
    pub model_flops: f64,
    /// Model FLOPs a second, in 10⁹.
    pub gigaflops: f64,
    /// The best matrix product at the model's shapes, in 10⁹ FLOPs a second.
    pub ceiling_gigaflops: f64,
    /// Model FLOPs over the ceiling.
    pub utilisation: f64,
    /// Peak memory of the process, in 10⁶ bytes; absent where the system does not report it.
    pub peak_megabytes: Option<f64>,
    /// Of it, before the model was built: the program and its libraries.
    pub base_megabytes: Option<f64>,
    /// The most memory of the GPU, in 10⁶ bytes; absent for a CPU.
    pub device_megabytes: Option<DeviceMegabytes>,
    /// How often a step sends numbers to the device.
    pub uploads: u64,
    /// How often a step waits for numbers of the device.
    pub read_backs: u64,
    /// Milliseconds by part.
    pub parts: Parts,
    /// One step by operation, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<StepProfile>,
}

/// The most memory of a GPU, in 10⁶ bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct DeviceMegabytes {
    /// Of tensors.
    pub tensors: f64,
    /// Taken from the device for them.
    pub reserved: f64,
}

/// Where the time of one step goes.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum StepProfile {
    /// What ran.
    Found(Profile),
    /// Nothing is known.
    Missing {
        /// Why.
        error: String,
    },
}

/// Rows of random tokens, each cut into `documents` of different lengths: document `i` takes a part in proportion to
/// `1 + i mod 4`.
fn rows(settings: &StepSettings, vocab_size: usize) -> Vec<Row> {
    let length = settings.sequence_length;
    let documents = settings.documents.clamp(1, length);
    let share = |i: usize| 1 + i % 4;
    let total: usize = (0..documents).map(share).sum();
    let mut starts: Vec<usize> = (0..documents)
        .map(|i| (0..i).map(share).sum::<usize>() * length / total)
        .collect();
    starts.dedup();
    (0..settings.micro_batch)
        .map(|row| {
            // A linear congruential generator: which tokens they are does not matter.
            let mut state = 1 + row as u32;
            let mut token = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) % vocab_size as u32
            };
            let ids: Vec<u32> = (0..=length).map(|_| token()).collect();
            let target = |i: usize| (!starts.contains(&(i + 1))).then_some(ids[i + 1]);
            Row {
                targets: (0..length).map(target).collect(),
                ids: ids[..length].to_vec(),
                starts: starts.clone(),
                source: 0,
            }
        })
        .collect()
}

/// Times a step of a model of this configuration, which has a position for each token of a row, on `device`.
///
/// # Errors
/// The configuration cannot be built.
pub fn step(config: &ModelConfig, settings: &StepSettings, device: &Device) -> Result<StepBench> {
    let rows = rows(settings, config.vocab_size);
    let tokens = settings.micro_batch * settings.sequence_length;
    let base_megabytes = peak_memory().map(|bytes| bytes as f64 / 1e6);
    let mut state = settings.state(config, &DeviceInit::new(config, DType::F32), device)?;
    let train = |state| -> Result<TrainState> {
        let (after, _) = settings.train(state, &rows, 1e-4, device)?;
        // The norm of the gradients was waited for; the update is, too, on a device that computes in the background.
        wait(after.model.head());
        Ok(after)
    };
    let mut times = Vec::new();
    let mut transfers = [Transfers::so_far(); 2];
    for step in 0..settings.steps + 2 {
        transfers[0] = Transfers::so_far();
        let begin = Instant::now();
        state = train(state)?;
        if step >= 2 {
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        transfers[1] = Transfers::so_far();
    }
    let step_milliseconds = median(times);
    let peak_megabytes = peak_memory().map(|bytes| bytes as f64 / 1e6);
    let device_megabytes = device_memory(device).map(|memory| DeviceMegabytes {
        tensors: memory.tensors as f64 / 1e6,
        reserved: memory.reserved as f64 / 1e6,
    });
    let profile = match settings.profile {
        true => {
            let (after, found) = profile(device, || train(state));
            state = after?;
            Some(found.map_or_else(|error| StepProfile::Missing { error }, StepProfile::Found))
        }
        false => None,
    };

    let batch = MicroBatch::new(&rows, device)?;
    let training = device.clone().autodiff();
    let parts = parts(config, settings, state, &batch, &training, step_milliseconds);
    let lengths: Vec<f64> = (0..batch.documents.batch())
        .flat_map(|row| batch.documents.spans(row).map(|(_, length)| length as f64))
        .collect();
    let model_flops = model_flops(config, tokens, &lengths);
    let gigaflops = model_flops / step_milliseconds / 1e6;
    let ceiling_gigaflops = ceiling(config, tokens, dtype(settings.precision), device);
    Ok(StepBench {
        parameters: config.parameters(),
        tokens,
        step_milliseconds,
        tokens_per_second: tokens as f64 / step_milliseconds * 1e3,
        model_flops,
        gigaflops,
        ceiling_gigaflops,
        utilisation: gigaflops / ceiling_gigaflops,
        peak_megabytes,
        base_megabytes,
        device_megabytes,
        uploads: transfers[1].uploads - transfers[0].uploads,
        read_backs: transfers[1].read_backs - transfers[0].read_backs,
        parts,
        profile,
    })
}

fn model_flops(config: &ModelConfig, tokens: usize, documents: &[f64]) -> f64 {
    let layer: usize = layer_products(config)
        .iter()
        .map(|[out, input]| out * input)
        .sum();
    let matrices = config.num_hidden_layers * layer + config.vocab_size * config.hidden_size;
    let width = (config.num_attention_heads * config.head_dim * config.num_hidden_layers) as f64;
    let pairs: f64 = documents.iter().map(|length| length * length / 2.0).sum();
    // Two products of two FLOPs forward, twice that backward.
    6.0 * (tokens * matrices) as f64 + 12.0 * pairs * width
}
