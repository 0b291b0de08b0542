//! The fused operations in the host's memory, on every backend whose tensors lie there: shapes and memory here, arithmetic in
//! [`crate::host`].
//!
//! Composed operations write every intermediate to memory, among them a whole score matrix and the full logits. These keep
//! one block in cache, and their backward passes recompute what is cheap.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, Shape, Slice, TensorData};
use half::bf16;

use crate::dtype::cast;
use crate::host::attention::{self, Heads};
use crate::host::{self, Angles, HostBackend, loss_block, loss_rows};
use crate::host_targets::HostTargets;
use crate::tracked::Saved;
use crate::{AdamWStep, Documents};

/// Runs an expression with a name for the dtype of activations.
macro_rules! by_dtype {
    ($dtype:expr, $name:ident => $run:expr) => {
        match $dtype {
            DType::BF16 => {
                type $name = bf16;
                $run
            }
            _ => {
                type $name = f32;
                $run
            }
        }
    };
}

/// Numbers as a tensor of the shape and dtype of `like`.
fn shaped<B: Backend>(values: Vec<f32>, like: &FloatTensor<B>) -> FloatTensor<B> {
    let tensor = B::float_from_data(TensorData::new(values, like.shape()), &like.device());
    cast::<B>(tensor, like.dtype())
}

/// In `f32`, with a dense last axis.
fn single<B: HostBackend>(tensor: &FloatTensor<B>) -> FloatTensor<B> {
    B::inner_dense(cast::<B>(tensor.clone(), DType::F32))
}

fn heads<B: Backend>(q: &FloatTensor<B>, k: &FloatTensor<B>) -> Heads {
    let ([_, heads, _, dim], [_, kv_heads, _, _]) = (q.shape().dims(), k.shape().dims());
    Heads { heads, kv_heads, dim }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedAttention<B: Backend> {
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    out: FloatTensor<B>,
    lse: Arc<Vec<f32>>,
    documents: Documents,
}

pub(crate) fn attention<B: HostBackend>(
    inputs: [FloatTensor<B>; 3],
    documents: Documents,
    _: [bool; 3],
) -> (FloatTensor<B>, SavedAttention<B>) {
    let [q, k, v] = inputs.map(B::inner_dense);
    let (out, lse) = {
        let heads = heads::<B>(&q, &k);
        let [q, k, v] = [&q, &k, &v].map(single::<B>);
        attention::forward(
            B::view(&q),
            B::view(&k),
            B::view(&v),
            heads,
            &documents,
            B::THREADS,
        )
    };
    let out = shaped::<B>(out, &q);
    let saved = SavedAttention {
        q,
        k,
        v,
        out: out.clone(),
        lse: Arc::new(lse),
        documents,
    };
    (out, saved)
}

impl<B: HostBackend> Saved<B, 3> for SavedAttention<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 3] {
        let [q, k, v, out, grad] = [&self.q, &self.k, &self.v, &self.out, &grad].map(single::<B>);
        let saved = attention::Saved {
            q: B::view(&q),
            k: B::view(&k),
            v: B::view(&v),
            out: B::slice(&out),
            lse: &self.lse,
        };
        let heads = heads::<B>(&q, &k);
        let result = attention::backward(&saved, B::view(&grad), heads, &self.documents, B::THREADS);
        [(result.q, &self.q), (result.k, &self.k), (result.v, &self.v)]
            .map(|(values, input)| Some(shaped::<B>(values, input)))
    }
}

pub(crate) fn cached_attention<B: HostBackend>(
    _: [FloatTensor<B>; 0],
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    starts: Arc<[usize]>,
    _: [bool; 0],
) -> (FloatTensor<B>, ()) {
    let sizes = [q.shape()[2], k.shape()[2]];
    let values = {
        let [q, k, v] = [&q, &k, &v].map(single::<B>);
        attention::extend(
            B::view(&q),
            B::view(&k),
            B::view(&v),
            heads::<B>(&q, &k),
            &starts,
            sizes,
            B::THREADS,
        )
    };
    (shaped::<B>(values, &q), ())
}

/// The summed loss is linear in its gradient, so the factor can come later.
#[derive(Debug, Clone)]
pub(crate) struct SavedLoss<B: Backend> {
    hidden: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
}

/// The loss is the last thing a step computes, so its gradients are wanted at once: each block's logits become
/// probabilities and then gradients where they lie. The work is three matrix products, as without fusion.
pub(crate) fn loss<B: HostBackend>(
    [hidden, weight]: [FloatTensor<B>; 2],
    targets: Arc<HostTargets>,
    [of_hidden, of_weight]: [bool; 2],
) -> (FloatTensor<B>, SavedLoss<B>) {
    let (dtype, weight_dtype) = (hidden.dtype(), weight.dtype());
    let weight = cast::<B>(weight, dtype);
    let ([tokens, _], [vocab, _]) = (hidden.shape().dims(), weight.shape().dims());
    let mut losses = B::empty(Shape::from([tokens]), DType::F32);
    let mut dh = Vec::new();
    let mut dw = of_weight.then(|| B::zeros(weight.shape()));
    let mut last = None;
    let most = loss_block(vocab).min(tokens).max(1);
    for start in (0..tokens).step_by(most) {
        let rows = start..tokens.min(start + most);
        let block = B::float_slice(hidden.clone(), &[rows.clone().into(), Slice::full()]);
        let logits = B::product(block.clone(), B::float_transpose(weight.clone()), last.take());
        let mut logits = B::contiguous(cast::<B>(logits, DType::F32)); // [rows, vocab]
        let of_rows = &mut B::slice_mut(&mut losses)[rows.clone()];
        loss_rows(B::slice_mut(&mut logits), &targets, rows, of_rows, B::THREADS);
        if of_hidden || of_weight {
            let of_logits = cast::<B>(logits.clone(), dtype);
            if of_hidden {
                dh.push(B::product(of_logits.clone(), weight.clone(), None));
            }
            dw = dw.map(|dw| B::add_product(dw, B::float_transpose(of_logits), block));
        }
        last = Some(logits);
    }
    let saved = SavedLoss {
        hidden: of_hidden.then(|| B::float_cat(dh, 0)),
        weight: dw.map(|dw| cast::<B>(dw, weight_dtype)),
    };
    (losses, saved)
}

impl<B: HostBackend> Saved<B, 2> for SavedLoss<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 2] {
        let factor = B::slice::<f32>(&B::contiguous(grad))
            .first()
            .copied()
            .unwrap_or(0.0);
        [self.hidden, self.weight]
            .map(|gradient| Some(B::float_mul_scalar(gradient?, f64::from(factor).into())))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedNorm<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    scales: Arc<Vec<f32>>,
}

pub(crate) fn rms_norm<B: HostBackend>(
    inputs: [FloatTensor<B>; 2],
    epsilon: f64,
    dtype: DType,
    _: [bool; 2],
) -> (FloatTensor<B>, SavedNorm<B>) {
    let [x, weight] = inputs.map(B::contiguous);
    let mut out = B::empty(x.shape(), dtype);
    let mut scales = vec![0.0; x.shape().num_elements() / weight.shape().num_elements()];
    by_dtype!(dtype, E => host::rms_norm(
        B::slice(&x),
        B::slice(&weight),
        epsilon as f32,
        B::slice_mut::<E>(&mut out),
        &mut scales,
        B::THREADS,
    ));
    let scales = Arc::new(scales);
    (out, SavedNorm { x, weight, scales })
}

impl<B: HostBackend> Saved<B, 2> for SavedNorm<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 2] {
        let Self { x, weight, scales } = self;
        let grad = B::contiguous(grad);
        let mut dx = B::empty(x.shape(), DType::F32);
        let dw = by_dtype!(grad.dtype(), E => host::rms_norm_backward(
            B::slice(&x),
            B::slice(&weight),
            &scales,
            B::slice::<E>(&grad),
            B::slice_mut(&mut dx),
            B::THREADS,
        ));
        [Some(dx), Some(shaped::<B>(dw, &weight))]
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedGate<B: Backend> {
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
}

pub(crate) fn swiglu<B: HostBackend>(
    inputs: [FloatTensor<B>; 2],
    _: [bool; 2],
) -> (FloatTensor<B>, SavedGate<B>) {
    let [gate, up] = inputs.map(B::contiguous);
    let mut out = B::empty(gate.shape(), gate.dtype());
    by_dtype!(gate.dtype(), E => host::swiglu(
        B::slice::<E>(&gate),
        B::slice(&up),
        B::slice_mut(&mut out),
        B::THREADS,
    ));
    (out, SavedGate { gate, up })
}

impl<B: HostBackend> Saved<B, 2> for SavedGate<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 2] {
        let Self { gate, up } = self;
        let grad = B::contiguous(cast::<B>(grad, gate.dtype()));
        let [mut dgate, mut dup] = [&gate, &up].map(|input| B::empty(input.shape(), input.dtype()));
        by_dtype!(gate.dtype(), E => host::swiglu_backward(
            B::slice::<E>(&gate),
            B::slice(&up),
            B::slice(&grad),
            B::slice_mut(&mut dgate),
            B::slice_mut(&mut dup),
            B::THREADS,
        ));
        [dgate, dup].map(Some)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedRotary<B: Backend> {
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
}

pub(crate) fn rotary<B: HostBackend>(
    [x]: [FloatTensor<B>; 1],
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    _: [bool; 1],
) -> (FloatTensor<B>, SavedRotary<B>) {
    let [cos, sin] = [cos, sin].map(B::contiguous);
    let saved = SavedRotary { cos, sin };
    (saved.rotated(x, false), saved)
}

impl<B: HostBackend> SavedRotary<B> {
    fn rotated(&self, x: FloatTensor<B>, back: bool) -> FloatTensor<B> {
        let x = B::inner_dense(x);
        let [batch, heads, seq, dim] = x.shape().dims();
        let angles = Angles {
            cos: B::slice(&self.cos),
            sin: B::slice(&self.sin),
            shared: self.cos.shape()[0] == 1,
        };
        let mut out = B::empty(Shape::from([batch, seq, heads, dim]), x.dtype());
        by_dtype!(x.dtype(), E => host::rotary(
            B::view::<E>(&x),
            [batch, heads, seq, dim],
            angles,
            back,
            B::slice_mut(&mut out),
            B::THREADS,
        ));
        B::float_swap_dims(out, 1, 2)
    }
}

impl<B: HostBackend> Saved<B, 1> for SavedRotary<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 1] {
        [Some(self.rotated(grad, true))]
    }
}

/// New values and moments of parameters `[value, first moment, second moment, gradient]`.
pub(crate) fn adamw<B: HostBackend>(
    parameters: Vec<[FloatTensor<B>; 4]>,
    step: AdamWStep,
) -> Vec<[FloatTensor<B>; 3]> {
    let update = |parameter: [FloatTensor<B>; 4]| {
        let [mut value, mut first, mut second, gradient] = parameter.map(B::contiguous);
        host::adamw(
            B::slice_mut(&mut value),
            B::slice_mut(&mut first),
            B::slice_mut(&mut second),
            B::slice(&gradient),
            step,
            B::THREADS,
        );
        [value, first, second]
    };
    parameters.into_iter().map(update).collect()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::backend::ops::FloatTensorOps;

    use super::*;

    #[test]
    fn what_is_not_wanted_is_not_computed() {
        let targets = Arc::new(HostTargets {
            ids: vec![0, -1, 3],
            weights: None,
        });
        let tensor = |value: f32, shape: [usize; 2]| {
            let values = vec![value; shape[0] * shape[1]];
            Flex::float_from_data(TensorData::new(values, shape), &Default::default())
        };
        for wanted in [[true, true], [true, false], [false, true], [false, false]] {
            let inputs = [tensor(1.0, [3, 2]), tensor(0.5, [4, 2])];
            let (losses, saved) = loss::<Flex>(inputs, Arc::clone(&targets), wanted);
            assert_eq!(losses.shape().dims(), [3]);
            assert_eq!([saved.hidden.is_some(), saved.weight.is_some()], wanted);
        }
    }
}
