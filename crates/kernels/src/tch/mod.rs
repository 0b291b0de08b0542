//! The fused operations on LibTorch, in the CPU's memory: its matrix products, and between them the host loops of
//! [`crate::host`] on LibTorch's own threads. Attention is one of those, in `f32` whatever the dtype of its inputs:
//! LibTorch's fused one for the CPU takes more than twice the time (docs/decisions.md).

mod tensor;

use std::sync::Arc;

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::DType;
use half::bf16;
use tch::{Kind, Tensor};

use self::tensor::{angles, contiguous, slice, slice_mut, view};
use crate::fused::{Kernels, Saved};
use crate::host::attention::{self, Heads};
use crate::host::{self, Element, Threads, loss_block};
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

impl Kernels for LibTorch {
    type Attention = SavedAttention;
    type Loss = SavedLoss;
    type Norm = SavedNorm;
    type Gate = SavedGate;
    type Rotary = SavedRotary;

    fn attention_forward(
        q: TchTensor,
        k: TchTensor,
        v: TchTensor,
        documents: Arc<Documents>,
    ) -> (TchTensor, SavedAttention) {
        let kind = q.tensor.kind();
        let [q, k, v] = [q, k, v].map(single);
        let heads = heads(&q.tensor, &k.tensor);
        let (values, lse) = attention::forward(
            view(&q.tensor),
            view(&k.tensor),
            view(&v.tensor),
            heads,
            &documents,
            THREADS,
        );
        let out = TchTensor::new(Tensor::from_slice(&values).view_(q.tensor.size()));
        let rounded = match kind {
            Kind::Float => out.clone(),
            _ => TchTensor::new(out.tensor.to_kind(kind)),
        };
        let saved = SavedAttention {
            q,
            k,
            v,
            out,
            lse: Arc::new(lse),
            documents,
        };
        (rounded, saved)
    }

    fn loss_forward(
        hidden: TchTensor,
        weight: TchTensor,
        targets: &[i32],
        save: bool,
    ) -> (TchTensor, Option<SavedLoss>) {
        let hidden = hidden.tensor;
        let kind = hidden.kind();
        let dtype = weight.tensor.kind();
        let weight = weight.tensor.to_kind(kind);
        let (tokens, vocab) = (targets.len(), weight.size()[0]);
        let dh = hidden.empty_like();
        let mut dw = save.then(|| Tensor::zeros(weight.size(), (Kind::Float, weight.device())));
        let mut total = 0.0;
        let most = loss_block(vocab as usize);
        for start in (0..tokens).step_by(most) {
            let rows = most.min(tokens - start);
            let part = hidden.narrow(0, start as i64, rows as i64);
            let mut logits = contiguous(part.matmul(&weight.tr()).to_kind(Kind::Float));
            total += host::loss_rows(slice_mut(&mut logits), &targets[start..start + rows], THREADS);
            if let Some(dw) = &mut dw {
                let changes = logits.to_kind(kind);
                dh.narrow(0, start as i64, rows as i64)
                    .copy_(&changes.matmul(&weight));
                let _ = match kind {
                    Kind::Float => dw.addmm_(&changes.tr(), &part),
                    _ => dw.g_add_(&changes.tr().matmul(&part)),
                };
            }
        }
        let saved = dw.map(|dw| SavedLoss {
            hidden: TchTensor::new(dh),
            weight: TchTensor::new(dw.to_kind(dtype)),
        });
        let total = Tensor::from_slice(&[total as f32]);
        (TchTensor::new(total), saved)
    }

    fn rms_norm_forward(
        x: TchTensor,
        weight: TchTensor,
        epsilon: f64,
        dtype: DType,
    ) -> (TchTensor, SavedNorm) {
        let [x, weight] = [x, weight].map(dense);
        let kind = match dtype {
            DType::BF16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        let (out, scales) = by_kind!(kind, norm_forward(&x.tensor, &weight.tensor, epsilon, kind));
        let scales = Arc::new(scales);
        let saved = SavedNorm { x, weight, scales };
        (TchTensor::new(out), saved)
    }

    fn swiglu_forward(gate: TchTensor, up: TchTensor) -> (TchTensor, SavedGate) {
        let [gate, up] = [gate, up].map(dense);
        let out = by_kind!(gate.tensor.kind(), gate_forward(&gate.tensor, &up.tensor));
        (TchTensor::new(out), SavedGate { gate, up })
    }

    fn rotary_forward(x: TchTensor, cos: TchTensor, sin: TchTensor) -> (TchTensor, SavedRotary) {
        let [cos, sin] = [cos, sin].map(dense);
        let saved = SavedRotary { cos, sin };
        (saved.turn(x, false), saved)
    }

    fn adamw_update(
        value: TchTensor,
        first: TchTensor,
        second: TchTensor,
        gradient: TchTensor,
        step: AdamWStep,
    ) -> (TchTensor, TchTensor, TchTensor) {
        let gradient = contiguous(gradient.tensor);
        let [mut value, mut first, mut second] = [value, first, second].map(own);
        host::adamw(
            slice_mut(&mut value),
            slice_mut(&mut first),
            slice_mut(&mut second),
            slice(&gradient),
            step,
            THREADS,
        );
        (
            TchTensor::new(value),
            TchTensor::new(first),
            TchTensor::new(second),
        )
    }
}

/// A contiguous tensor. Where it is one already, it keeps its count of owners, by which Burn knows that it must not be
/// written to.
fn dense(tensor: TchTensor) -> TchTensor {
    match tensor.tensor.is_contiguous() {
        true => tensor,
        false => TchTensor::new(tensor.tensor.contiguous()),
    }
}

/// A contiguous tensor that nobody else sees.
fn own(tensor: TchTensor) -> Tensor {
    match tensor.can_mut() && tensor.tensor.is_contiguous() {
        true => tensor.tensor,
        false => contiguous(tensor.tensor.copy()),
    }
}

/// In `f32`, with a dense last axis.
fn single(tensor: TchTensor) -> TchTensor {
    match tensor.tensor.kind() {
        Kind::Float if tensor.tensor.stride().last() == Some(&1) => tensor,
        _ => TchTensor::new(tensor.tensor.to_kind(Kind::Float).contiguous()),
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
    documents: Arc<Documents>,
}

impl Saved<LibTorch, 3> for SavedAttention {
    fn backward(self, grad: TchTensor) -> [TchTensor; 3] {
        let kind = grad.tensor.kind();
        let grad = single(grad);
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|tensor| &tensor.tensor);
        let saved = attention::Saved {
            q: view(q),
            k: view(k),
            v: view(v),
            out: slice(&self.out.tensor),
            lse: &self.lse,
        };
        let result = attention::backward(&saved, view(&grad.tensor), heads(q, k), &self.documents, THREADS);
        [(result.q, q), (result.k, k), (result.v, v)].map(|(values, like)| {
            let gradient = Tensor::from_slice(&values).view_(like.size());
            TchTensor::new(gradient.to_kind(kind))
        })
    }
}

/// The loss is linear in its gradient, so that what it is multiplied by can come later.
#[derive(Debug, Clone)]
pub(crate) struct SavedLoss {
    hidden: TchTensor,
    weight: TchTensor,
}

impl Saved<LibTorch, 2> for SavedLoss {
    fn backward(self, grad: TchTensor) -> [TchTensor; 2] {
        let scale = grad.tensor.double_value(&[0]);
        [self.hidden, self.weight].map(|tensor| TchTensor::new(own(tensor).g_mul_scalar_(scale)))
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
    fn backward(self, grad: TchTensor) -> [TchTensor; 2] {
        let grad = contiguous(grad.tensor);
        by_kind!(grad.kind(), norm_backward(&self, &grad)).map(TchTensor::new)
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
    fn backward(self, grad: TchTensor) -> [TchTensor; 2] {
        let (gate, up) = (self.gate.tensor, self.up.tensor);
        let grad = contiguous(grad.tensor.to_kind(gate.kind()));
        by_kind!(gate.kind(), gate_backward(&gate, &up, &grad)).map(TchTensor::new)
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
    fn backward(self, grad: TchTensor) -> [TchTensor; 1] {
        [self.turn(grad, true)]
    }
}
