//! How fast a training step is on this machine, and where its time goes: `bench step`.
//!
//! A model with random weights trains on random rows cut into documents. The parts are timed one by one, each as often
//! as a step does it; what is left of the step after them is called the rest (norms, gates, rotation, the embedding,
//! Burn's graph). Utilisation is against the best matrix product found on the same device in the same call. Nothing
//! here asserts a time.

use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor};
use serde::Serialize;
use smollm3_collective::Single;
use smollm3_kernels::{Documents, document_attention, linear, peak_memory};
use smollm3_model::{Init, ModelConfig, SmolLm3};
use smollm3_recipe::{LossAverage, Memory, Optimizer, Precision, Recompute, Sharding};

use crate::backward::backward;
use crate::reduce::{Outgoing, ReducedGradients};
use crate::run::dtype;
use crate::{AdamW, CrossEntropy, GlobalBatch, MicroBatch, Result, Row, StepMode, TrainState, train_step};

/// What is timed.
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
    /// What is computed again on the way back.
    pub recompute: Recompute,
    /// Steps that are timed, after two that are not.
    pub steps: usize,
}

/// What was measured. Times are medians.
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
    /// The most memory the process has taken, in 10⁶ bytes; absent where the system does not tell.
    pub peak_megabytes: Option<f64>,
    /// What of it was there before the model: the program and its libraries.
    pub base_megabytes: Option<f64>,
    /// What the plan expects on top of that, in 10⁶ bytes.
    pub planned_megabytes: f64,
    /// Milliseconds by part.
    pub parts: Parts,
}

/// Milliseconds of a step by part.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Parts {
    /// Attention of all layers, forward and backward.
    pub attention: f64,
    /// Products with the weights of all layers, forward and backward.
    pub linears: f64,
    /// Head and cross-entropy, forward and backward.
    pub loss: f64,
    /// The norm of the gradients and the update.
    pub optimizer: f64,
    /// Everything else.
    pub rest: f64,
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

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// Milliseconds of `work`, which must wait for the device itself. A first time is not counted, unless there is but one.
fn time(repetitions: usize, mut work: impl FnMut()) -> f64 {
    if repetitions > 1 {
        work();
    }
    median(
        (0..repetitions)
            .map(|_| {
                let begin = Instant::now();
                work();
                begin.elapsed().as_secs_f64() * 1e3
            })
            .collect(),
    )
}

fn wait<const D: usize>(tensor: Tensor<D>) {
    let _ = tensor.slice(std::array::from_fn::<_, D, _>(|_| 0..1)).into_data();
}

/// Times a step of a model of this configuration on `device`.
///
/// # Errors
/// The configuration cannot be built.
pub fn step(config: &ModelConfig, settings: &StepSettings, device: &Device) -> Result<StepBench> {
    let training = device.clone().autodiff();
    let mut config = config.clone();
    config.max_position_embeddings = config.max_position_embeddings.max(settings.sequence_length);
    let rows = rows(settings, config.vocab_size);
    let tokens = settings.micro_batch * settings.sequence_length;
    let base_megabytes = peak_memory().map(|bytes| bytes as f64 / 1e6);
    let model =
        SmolLm3::new(&config, &Init::new(&config, 1), &training)?.with_precision(dtype(settings.precision));
    let mut state = TrainState {
        model,
        optimizer: AdamW::new(Optimizer::new(1e-4)),
    };
    let mode = StepMode {
        average: LossAverage::Tokens,
        recompute: settings.recompute,
        sharding: Sharding::Optimizer,
    };
    let mut times = Vec::new();
    let alone = Single::default();
    for step in 0..settings.steps + 2 {
        let begin = Instant::now();
        let batch = [MicroBatch::new(&rows, device)?];
        let batch = GlobalBatch::gather(&CrossEntropy, &batch, false, &alone)?;
        let (after, _) = train_step(state, &CrossEntropy, batch, mode, 1e-4, &alone, |_| true)?;
        // The norm of the gradients was waited for; the update is, too, on a device that computes in the background.
        wait(after.model.head());
        state = after;
        if step >= 2 {
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    let step_milliseconds = median(times);
    let peak_megabytes = peak_memory().map(|bytes| bytes as f64 / 1e6);

    let batch = MicroBatch::new(&rows, device)?;
    let parts = parts(&config, settings, &state, &batch, &training, step_milliseconds);
    let lengths: Vec<f64> = (0..batch.documents.batch())
        .flat_map(|row| batch.documents.spans(row).map(|(_, length)| length as f64))
        .collect();
    let model_flops = model_flops(&config, tokens, &lengths);
    let gigaflops = model_flops / step_milliseconds / 1e6;
    let ceiling_gigaflops = ceiling(&config, tokens, dtype(settings.precision), device);
    let planned = Memory::of_device(
        &config,
        settings.precision,
        settings.sequence_length as u64,
        settings.micro_batch as u64,
        settings.recompute == Recompute::Layers,
        1,
    )
    .total;
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
        planned_megabytes: planned as f64 / 1e6,
        parts,
    })
}

/// The products of one layer as `[out, in]`.
fn layer_products(config: &ModelConfig) -> [[usize; 2]; 7] {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let query = config.num_attention_heads * config.head_dim;
    let key_value = config.num_key_value_heads * config.head_dim;
    [
        [query, hidden],
        [key_value, hidden],
        [key_value, hidden],
        [hidden, query],
        [inner, hidden],
        [inner, hidden],
        [hidden, inner],
    ]
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

/// The best rate of a product of the model's, in 10⁹ FLOPs a second.
fn ceiling(config: &ModelConfig, tokens: usize, precision: DType, device: &Device) -> f64 {
    let mut shapes = layer_products(config).to_vec();
    shapes.push([config.vocab_size.min(8192), config.hidden_size]);
    shapes
        .into_iter()
        .map(|[out, input]| {
            let random = |shape: [usize; 2]| {
                Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device).cast(precision)
            };
            let (x, weight) = (random([tokens, input]), random([out, input]));
            let milliseconds = time(7, || wait(linear(x.clone(), weight.clone())));
            2.0 * (tokens * out * input) as f64 / milliseconds / 1e6
        })
        .fold(0.0, f64::max)
}

fn parts(
    config: &ModelConfig,
    settings: &StepSettings,
    state: &TrainState,
    batch: &MicroBatch,
    device: &Device,
    step: f64,
) -> Parts {
    // Of a step of many seconds, no part is so short that it must be timed more than once.
    let repetitions = if step > 10_000.0 { 1 } else { 3 };
    let (rows, seq) = (settings.micro_batch, settings.sequence_length);
    let tokens = rows * seq;
    let layers = config.num_hidden_layers as f64;
    let random2 = |shape: [usize; 2]| {
        let value = Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
        value.cast(dtype(settings.precision)).detach().require_grad()
    };
    let heads = |count: usize| {
        let value = Tensor::<4>::random(
            [rows, seq, count, config.head_dim],
            Distribution::Normal(0.0, 1.0),
            device,
        );
        value
            .cast(dtype(settings.precision))
            .swap_dims(1, 2)
            .detach()
            .require_grad()
    };
    let (q, k, v) = (
        heads(config.num_attention_heads),
        heads(config.num_key_value_heads),
        heads(config.num_key_value_heads),
    );
    let documents: &Documents = &batch.documents;
    let attention = layers
        * time(repetitions, || {
            let out = document_attention(q.clone(), k.clone(), v.clone(), documents);
            let gradients = out.sum().backward();
            q.grad(&gradients).into_iter().for_each(wait);
        });
    let linears: f64 = layer_products(config)
        .iter()
        .map(|[out, input]| {
            let x = random2([tokens, *input]);
            let weight =
                Tensor::<2>::random([*out, *input], Distribution::Normal(0.0, 1.0), device).require_grad();
            layers
                * time(repetitions, || {
                    let gradients = linear(x.clone(), weight.clone()).sum().backward();
                    x.grad(&gradients).into_iter().for_each(wait);
                    weight.grad(&gradients).into_iter().for_each(wait);
                })
        })
        .sum();
    let hidden = random2([tokens, config.hidden_size]);
    let loss = time(repetitions, || {
        let sum =
            smollm3_kernels::linear_cross_entropy(hidden.clone(), state.model.head(), &batch.targets).sum;
        let gradients = sum.backward();
        hidden.grad(&gradients).into_iter().for_each(wait);
    });
    let mut current = Some(state.clone());
    let optimizer = median(
        (0..repetitions)
            .filter_map(|_| {
                let TrainState { model, mut optimizer } = current.take()?;
                let mut gradients = Outgoing::alone();
                let weight = |count: usize| 1.0 / count.max(1) as f64;
                backward(
                    &CrossEntropy,
                    &model,
                    batch,
                    weight,
                    settings.recompute,
                    &mut gradients,
                );
                let begin = Instant::now();
                let gradients = gradients.gradients;
                let scale = optimizer.clip_factor(gradients.squares().sqrt());
                let gradients = ReducedGradients::Whole(gradients);
                // One rank alone has none to wait for.
                let model = optimizer
                    .update(model, gradients, scale, 1e-4, &Single::default())
                    .ok()?;
                wait(model.head());
                let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
                current = Some(TrainState { model, optimizer });
                Some(milliseconds)
            })
            .collect(),
    );
    Parts {
        attention,
        linears,
        loss,
        optimizer,
        rest: step - attention - linears - loss - optimizer,
    }
}
