//! The fused operations in the CPU's memory: LibTorch's matrix products, and between them the host loops of
//! [`crate::host`] on LibTorch's own threads. Attention is one of those, in `f32` whatever the dtype of its inputs:
//! LibTorch's fused one for the CPU takes more than twice the time (docs/decisions.md).

use std::sync::Arc;

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use half::bf16;
use tch::{Kind, Tensor};

use super::SavedLoss;
use super::tensor::{angles, contiguous, dense, own, slice, slice_mut, view};
use crate::fused::Saved;
use crate::host::attention::{self, Heads};
use crate::host::{self, Element, Threads, loss_block};
use crate::loss::Wanted;
use crate::{AdamWStep, Documents};

const THREADS: Threads = Threads::LibTorch;

/// Calls a generic function for the dtype of activations.
macro_rules! by_kind {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            Kind::BFloat16 => $function::<bf16>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}

pub(super) fn attention(
    q: TchTensor,
    k: TchTensor,
    v: TchTensor,
    documents: Documents,
) -> (TchTensor, SavedAttention) {
    let kind = q.tensor.kind();
    let heads = heads(&q.tensor, &k.tensor);
    let (values, lse) = {
        let [q, k, v] = [&q, &k, &v].map(|tensor| single(&tensor.tensor));
        attention::forward(view(&q), view(&k), view(&v), heads, &documents, THREADS)
    };
    let out = Tensor::from_slice(&values).view_(q.tensor.size()).to_kind(kind);
    let out = TchTensor::new(out);
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

pub(super) fn cached_attention(q: &Tensor, k: &Tensor, v: &Tensor, starts: &[usize]) -> TchTensor {
    let heads = heads(q, k);
    let sizes = [q.size()[2] as usize, k.size()[2] as usize];
    let values = {
        let [q, k, v] = [q, k, v].map(single);
        attention::extend(view(&q), view(&k), view(&v), heads, starts, sizes, THREADS)
    };
    TchTensor::new(Tensor::from_slice(&values).view_(q.size()).to_kind(q.kind()))
}

pub(super) fn loss(
    hidden: TchTensor,
    weight: TchTensor,
    targets: &Wanted,
    [of_hidden, of_weight]: [bool; 2],
) -> (TchTensor, SavedLoss) {
    let hidden = hidden.tensor;
    let kind = hidden.kind();
    let dtype = weight.tensor.kind();
    let weight = weight.tensor.to_kind(kind);
    let (tokens, vocab) = (targets.ids.len(), weight.size()[0]);
    let dh = of_hidden.then(|| hidden.empty_like());
    let mut dw = of_weight.then(|| Tensor::zeros(weight.size(), (Kind::Float, weight.device())));
    let mut losses = Tensor::empty([tokens as i64], (Kind::Float, hidden.device()));
    let most = loss_block(vocab as usize);
    for start in (0..tokens).step_by(most) {
        let rows = most.min(tokens - start);
        let part = hidden.narrow(0, start as i64, rows as i64);
        let mut logits = contiguous(part.matmul(&weight.tr()).to_kind(Kind::Float));
        let span = start..start + rows;
        let found = &mut slice_mut(&mut losses)[span.clone()];
        host::loss_rows(slice_mut(&mut logits), targets, span, found, THREADS);
        if !(of_hidden || of_weight) {
            continue;
        }
        let changes = logits.to_kind(kind);
        if let Some(dh) = &dh {
            dh.narrow(0, start as i64, rows as i64)
                .copy_(&changes.matmul(&weight));
        }
        if let Some(dw) = &mut dw {
            let _ = match kind {
                Kind::Float => dw.addmm_(&changes.tr(), &part),
                _ => dw.g_add_(&changes.tr().matmul(&part)),
            };
        }
    }
    let saved = SavedLoss {
        hidden: dh.map(TchTensor::new),
        weight: dw.map(|dw| TchTensor::new(dw.to_kind(dtype))),
    };
    (TchTensor::new(losses), saved)
}

pub(super) fn rms_norm(x: TchTensor, weight: TchTensor, epsilon: f64, kind: Kind) -> (TchTensor, SavedNorm) {
    let [x, weight] = [x, weight].map(dense);
    let (out, scales) = by_kind!(kind, norm_forward(&x.tensor, &weight.tensor, epsilon, kind));
    let scales = Arc::new(scales);
    let saved = SavedNorm { x, weight, scales };
    (TchTensor::new(out), saved)
}

pub(super) fn swiglu(gate: TchTensor, up: TchTensor) -> (TchTensor, SavedGate) {
    let [gate, up] = [gate, up].map(dense);
    let out = by_kind!(gate.tensor.kind(), gate_forward(&gate.tensor, &up.tensor));
    (TchTensor::new(out), SavedGate { gate, up })
}

pub(super) fn rotary(x: TchTensor, cos: TchTensor, sin: TchTensor) -> (TchTensor, SavedRotary) {
    let [cos, sin] = [cos, sin].map(dense);
    let saved = SavedRotary { cos, sin };
    (saved.turn(x, false), saved)
}

pub(super) fn adamw([value, first, second, gradient]: [TchTensor; 4], step: AdamWStep) -> [TchTensor; 3] {
    let [mut value, mut first, mut second] = [value, first, second].map(own);
    let gradient = contiguous(gradient.tensor);
    host::adamw(
        slice_mut(&mut value),
        slice_mut(&mut first),
        slice_mut(&mut second),
        slice(&gradient),
        step,
        THREADS,
    );
    [value, first, second].map(TchTensor::new)
}

/// In `f32`, with a dense last axis.
fn single(tensor: &Tensor) -> Tensor {
    match tensor.kind() {
        Kind::Float if tensor.stride().last() == Some(&1) => tensor.shallow_clone(),
        _ => tensor.to_kind(Kind::Float).contiguous(),
    }
}

fn heads(q: &Tensor, k: &Tensor) -> Heads {
    let (q, k) = (q.size(), k.size());
    Heads {
        heads: q[1] as usize,
        kv_heads: k[1] as usize,
        dim: q[3] as usize,
    }
}

/// An empty tensor of the shape of `[batch, heads, seq, head_dim]`, in memory `[batch, seq, heads, head_dim]`.
fn like_activations(tensor: &Tensor) -> Tensor {
    let size = tensor.size();
    Tensor::empty(
        [size[0], size[2], size[1], size[3]],
        (tensor.kind(), tensor.device()),
    )
    .transpose(1, 2)
}

#[derive(Debug, Clone)]
pub(crate) struct SavedAttention {
    q: TchTensor,
    k: TchTensor,
    v: TchTensor,
    out: TchTensor,
    lse: Arc<Vec<f32>>,
    documents: Documents,
}

impl Saved<LibTorch, 3> for SavedAttention {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 3] {
        let kind = grad.tensor.kind();
        let [q, k, v, out, grad] =
            [&self.q, &self.k, &self.v, &self.out, &grad].map(|tensor| single(&tensor.tensor));
        let saved = attention::Saved {
            q: view(&q),
            k: view(&k),
            v: view(&v),
            out: slice(&out),
            lse: &self.lse,
        };
        let result = attention::backward(&saved, view(&grad), heads(&q, &k), &self.documents, THREADS);
        [(result.q, q), (result.k, k), (result.v, v)].map(|(values, like)| {
            let gradient = Tensor::from_slice(&values).view_(like.size());
            Some(TchTensor::new(gradient.to_kind(kind)))
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedNorm {
    x: TchTensor,
    weight: TchTensor,
    scales: Arc<Vec<f32>>,
}

fn norm_forward<O: Element>(x: &Tensor, weight: &Tensor, epsilon: f64, kind: Kind) -> (Tensor, Vec<f32>) {
    let mut out = Tensor::empty(x.size(), (kind, x.device()));
    let mut scales = vec![0.0; x.numel() / weight.numel()];
    host::rms_norm(
        slice(x),
        slice(weight),
        epsilon as f32,
        slice_mut::<O>(&mut out),
        &mut scales,
        THREADS,
    );
    (out, scales)
}

fn norm_backward<O: Element>(saved: &SavedNorm, grad: &Tensor) -> [Tensor; 2] {
    let mut dx = saved.x.tensor.empty_like();
    let (x, weight) = (slice(&saved.x.tensor), slice(&saved.weight.tensor));
    let dw = host::rms_norm_backward(
        x,
        weight,
        &saved.scales,
        slice::<O>(grad),
        slice_mut(&mut dx),
        THREADS,
    );
    [dx, Tensor::from_slice(&dw)]
}

impl Saved<LibTorch, 2> for SavedNorm {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 2] {
        let grad = contiguous(grad.tensor);
        by_kind!(grad.kind(), norm_backward(&self, &grad)).map(|found| Some(TchTensor::new(found)))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedGate {
    gate: TchTensor,
    up: TchTensor,
}

fn gate_forward<E: Element>(gate: &Tensor, up: &Tensor) -> Tensor {
    let mut out = gate.empty_like();
    host::swiglu(
        slice::<E>(gate),
        slice::<E>(up),
        slice_mut::<E>(&mut out),
        THREADS,
    );
    out
}

fn gate_backward<E: Element>(gate: &Tensor, up: &Tensor, grad: &Tensor) -> [Tensor; 2] {
    let [mut dgate, mut dup] = [gate.empty_like(), up.empty_like()];
    host::swiglu_backward(
        slice::<E>(gate),
        slice::<E>(up),
        slice::<E>(grad),
        slice_mut::<E>(&mut dgate),
        slice_mut::<E>(&mut dup),
        THREADS,
    );
    [dgate, dup]
}

impl Saved<LibTorch, 2> for SavedGate {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 2] {
        let (gate, up) = (self.gate.tensor, self.up.tensor);
        let grad = contiguous(grad.tensor.to_kind(gate.kind()));
        by_kind!(gate.kind(), gate_backward(&gate, &up, &grad)).map(|found| Some(TchTensor::new(found)))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedRotary {
    cos: TchTensor,
    sin: TchTensor,
}

fn turned<E: Element>(x: &Tensor, saved: &SavedRotary, back: bool) -> Tensor {
    let size: Vec<usize> = x.size().iter().map(|length| *length as usize).collect();
    let out = like_activations(x);
    let mut memory = out.transpose(1, 2);
    host::rotary(
        view::<E>(x),
        [size[0], size[1], size[2], size[3]],
        angles(&saved.cos.tensor, &saved.sin.tensor),
        back,
        slice_mut::<E>(&mut memory),
        THREADS,
    );
    out
}

impl SavedRotary {
    fn turn(&self, x: TchTensor, back: bool) -> TchTensor {
        let dense = x.tensor.stride().last() == Some(&1);
        let x = if dense { x.tensor } else { contiguous(x.tensor) };
        TchTensor::new(by_kind!(x.kind(), turned(&x, self, back)))
    }
}

impl Saved<LibTorch, 1> for SavedRotary {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 1] {
        [Some(self.turn(grad, true))]
    }
}
