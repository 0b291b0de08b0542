//! The parts of a step timed one by one, each as often as a step runs it.

use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor};
use serde::Serialize;
use smollm3_kernels::{Documents, document_attention, linear, linear_cross_entropy};
use smollm3_model::ModelConfig;
use smollm3_model::bench::median;

use super::StepSettings;
use crate::run::dtype;
use crate::step::{GradientSink, ReducedGradients, backward};
use crate::{CrossEntropy, MicroBatch, TrainState};

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

/// Milliseconds of `work`, which must wait for the device itself. The first run is not counted, unless it is the only one.
fn time(repetitions: usize, mut work: impl FnMut()) -> f64 {
    if repetitions > 1 {
        work();
    }
    let times = (0..repetitions).map(|_| {
        let begin = Instant::now();
        work();
        begin.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect())
}

pub(super) fn wait<const D: usize>(tensor: Tensor<D>) {
    let _ = tensor.slice(std::array::from_fn::<_, D, _>(|_| 0..1)).into_data();
}

/// The products of one layer as `[out, in]`.
pub(super) fn layer_products(config: &ModelConfig) -> [[usize; 2]; 7] {
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

/// The best rate of a product of the model's, in 10⁹ FLOPs a second.
pub(super) fn ceiling(config: &ModelConfig, tokens: usize, precision: DType, device: &Device) -> f64 {
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

/// Times them on a device with autodiff; `step` are the milliseconds of the whole.
pub(super) fn parts(
    config: &ModelConfig,
    settings: &StepSettings,
    state: TrainState,
    batch: &MicroBatch,
    device: &Device,
    step: f64,
) -> Parts {
    // The parts of a step of many seconds are long enough to be timed once.
    let repetitions = if step > 10_000.0 { 1 } else { 3 };
    let (rows, seq) = (settings.micro_batch, settings.sequence_length);
    let tokens = rows * seq;
    let layers = config.num_hidden_layers as f64;
    let normal = Distribution::Normal(0.0, 1.0);
    let random2 = |shape: [usize; 2]| {
        let value = Tensor::<2>::random(shape, normal, device);
        value.cast(dtype(settings.precision)).detach().require_grad()
    };
    let heads = |count: usize| {
        let value = Tensor::<4>::random([rows, seq, count, config.head_dim], normal, device);
        let value = value.cast(dtype(settings.precision)).swap_dims(1, 2);
        value.detach().require_grad()
    };
    let kv_heads = config.num_key_value_heads;
    let (q, k, v) = (
        heads(config.num_attention_heads),
        heads(kv_heads),
        heads(kv_heads),
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
            let weight = Tensor::<2>::random([*out, *input], normal, device).require_grad();
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
        let sum = linear_cross_entropy(hidden.clone(), state.model.head(), &batch.targets).sum;
        let gradients = sum.backward();
        hidden.grad(&gradients).into_iter().for_each(wait);
    });
    // The last part, because it takes the state: a second one may not fit.
    let mut current = Some(state);
    let optimizer = (0..repetitions).filter_map(|_| {
        let TrainState { model, mut optimizer } = current.take()?;
        let mut sink = GradientSink::default();
        let weight = |count: usize| 1.0 / count.max(1) as f64;
        backward(
            &CrossEntropy,
            &model,
            batch,
            weight,
            settings.recompute,
            &mut sink,
        );
        let begin = Instant::now();
        let gradients = ReducedGradients::Whole(sink.gradients);
        let scale = optimizer.clip_factor(gradients.squares().sqrt());
        // One rank waits for no other.
        let model = optimizer.update(model, gradients, scale, 1e-4).ok()?;
        wait(model.head());
        let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
        current = Some(TrainState { model, optimizer });
        Some(milliseconds)
    });
    let optimizer = median(optimizer.collect());
    Parts {
        attention,
        linears,
        loss,
        optimizer,
        rest: step - attention - linears - loss - optimizer,
    }
}
