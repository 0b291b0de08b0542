//! The fused operations as differentiable operations of Burn.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use super::attention::{self, Heads};
use super::cross_entropy::{self, LossGradients};
use super::rotary::{Angles, rotary as turn};
use super::tensor::{dense, inner_dense, slice, view};
use super::tracked::{Saved, tracked};
use super::{rms_norm as norm, swiglu as gate_of};
use crate::Documents;

/// Operations with a backward pass of their own.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Fused: Backend {
    /// See [`crate::document_attention`].
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Arc<Documents>,
    ) -> FloatTensor<Self>;

    /// See [`crate::linear_cross_entropy`]; `[1]`.
    fn fused_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<[i32]>,
    ) -> FloatTensor<Self>;

    /// See [`crate::rms_norm`].
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;

    /// See [`crate::swiglu`].
    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`crate::rotary`]; there is no gradient of the angles.
    fn fused_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Attention on a device of this backend, with or without autodiff.
pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, documents: &Documents) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_attention(
        q,
        k,
        v,
        Arc::new(documents.clone()),
    ))
}

/// Summed cross-entropy on a device of this backend, with or without autodiff.
pub(crate) fn cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: Arc<[i32]>) -> Tensor<1> {
    let [hidden, weight] = [hidden, weight].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_cross_entropy(hidden, weight, targets))
}

/// Norm on a device of this backend, with or without autodiff.
pub(crate) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Fused>::fused_rms_norm(x, weight, epsilon))
}

/// Gate on a device of this backend, with or without autodiff.
pub(crate) fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    let [gate, up] = [gate, up].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_swiglu(gate, up))
}

/// Rotation on a device of this backend, with or without autodiff.
pub(crate) fn rotary(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [x, cos, sin] = [x, cos, sin].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_rotary(x, cos, sin))
}

impl Fused for Flex {
    fn fused_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, documents: Arc<Documents>) -> FlexTensor {
        attention_forward(q, k, v, documents).out
    }

    fn fused_cross_entropy(hidden: FlexTensor, weight: FlexTensor, targets: Arc<[i32]>) -> FlexTensor {
        loss_forward(hidden, weight, &targets, false).0
    }

    fn fused_rms_norm(x: FlexTensor, weight: FlexTensor, epsilon: f64) -> FlexTensor {
        norm_forward(x, weight, epsilon).0
    }

    fn fused_swiglu(gate: FlexTensor, up: FlexTensor) -> FlexTensor {
        gate_forward(gate, up).0
    }

    fn fused_rotary(x: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        rotate(x, &SavedRotary::new(cos, sin), false)
    }
}

impl<C: CheckpointStrategy> Fused for Autodiff<Flex, C> {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Arc<Documents>,
    ) -> FloatTensor<Self> {
        let inputs = [q.node(), k.node(), v.node()];
        let [q, k, v] = [q, k, v].map(|tensor| tensor.primitive().clone());
        tracked::<C, _, 3>(inputs, |_| {
            let saved = attention_forward(q, k, v, documents);
            (saved.out.clone(), Some(saved))
        })
    }

    fn fused_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<[i32]>,
    ) -> FloatTensor<Self> {
        let inputs = [hidden.node(), weight.node()];
        let [hidden, weight] = [hidden, weight].map(|tensor| tensor.primitive().clone());
        tracked::<C, _, 2>(inputs, |save| loss_forward(hidden, weight, &targets, save))
    }

    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        let inputs = [x.node(), weight.node()];
        let [x, weight] = [x, weight].map(|tensor| tensor.primitive().clone());
        tracked::<C, _, 2>(inputs, |_| {
            let (out, saved) = norm_forward(x, weight, epsilon);
            (out, Some(saved))
        })
    }

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let inputs = [gate.node(), up.node()];
        let [gate, up] = [gate, up].map(|tensor| tensor.primitive().clone());
        tracked::<C, _, 2>(inputs, |_| {
            let (out, saved) = gate_forward(gate, up);
            (out, Some(saved))
        })
    }

    fn fused_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let inputs = [x.node()];
        let [x, cos, sin] = [x, cos, sin].map(|tensor| tensor.primitive().clone());
        tracked::<C, _, 1>(inputs, |_| {
            let saved = SavedRotary::new(cos, sin);
            (rotate(x, &saved, false), Some(saved))
        })
    }
}

#[derive(Debug, Clone)]
struct SavedAttention {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    out: FlexTensor,
    lse: Arc<Vec<f32>>,
    documents: Arc<Documents>,
}

fn attention_forward(
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    documents: Arc<Documents>,
) -> SavedAttention {
    let [q, k, v] = [q, k, v].map(inner_dense);
    let (values, lse) = attention::forward(view(&q), view(&k), view(&v), heads(&q, &k), &documents);
    SavedAttention {
        out: dense(values, shape(&q)),
        q,
        k,
        v,
        lse: Arc::new(lse),
        documents,
    }
}

impl Saved<3> for SavedAttention {
    fn backward(self, grad: FlexTensor) -> [FlexTensor; 3] {
        let Self {
            q,
            k,
            v,
            out,
            lse,
            documents,
        } = self;
        let saved = attention::Saved {
            q: view(&q),
            k: view(&k),
            v: view(&v),
            out: slice(&out),
            lse: &lse,
        };
        let grad = inner_dense(grad);
        let result = attention::backward(&saved, view(&grad), heads(&q, &k), &documents);
        [(result.q, &q), (result.k, &k), (result.v, &v)].map(|(values, like)| dense(values, shape(like)))
    }
}

/// The loss is linear in its gradient, so that what it is multiplied by can come later.
#[derive(Debug, Clone)]
struct SavedLoss {
    gradients: Arc<LossGradients>,
    shapes: [Shape; 2],
}

fn loss_forward(
    hidden: FlexTensor,
    weight: FlexTensor,
    targets: &[i32],
    save: bool,
) -> (FlexTensor, Option<SavedLoss>) {
    let [hidden, weight] = [hidden, weight].map(|tensor| tensor.to_contiguous());
    let sizes = cross_entropy::Shape {
        tokens: shape(&hidden)[0],
        width: shape(&hidden)[1],
        vocab: shape(&weight)[0],
    };
    let (sum, gradients) = cross_entropy::cross_entropy(slice(&hidden), slice(&weight), targets, sizes, save);
    let saved = gradients.map(|gradients| SavedLoss {
        gradients: Arc::new(gradients),
        shapes: [shape(&hidden), shape(&weight)],
    });
    (dense(vec![sum as f32], Shape::from([1])), saved)
}

impl Saved<2> for SavedLoss {
    fn backward(self, grad: FlexTensor) -> [FlexTensor; 2] {
        let scale = slice(&grad.to_contiguous()).first().copied().unwrap_or(0.0);
        // The graph has let go of its own copy, so this is the only one as a rule.
        let LossGradients { hidden, weight } = Arc::unwrap_or_clone(self.gradients);
        let [hidden_shape, weight_shape] = self.shapes;
        [(hidden, hidden_shape), (weight, weight_shape)].map(|(mut values, shape)| {
            values.iter_mut().for_each(|value| *value *= scale);
            dense(values, shape)
        })
    }
}

#[derive(Debug, Clone)]
struct SavedNorm {
    x: FlexTensor,
    weight: FlexTensor,
    scales: Arc<Vec<f32>>,
}

fn norm_forward(x: FlexTensor, weight: FlexTensor, epsilon: f64) -> (FlexTensor, SavedNorm) {
    let [x, weight] = [x, weight].map(|tensor| tensor.to_contiguous());
    let (out, scales) = norm::forward(slice(&x), slice(&weight), epsilon as f32);
    let scales = Arc::new(scales);
    (dense(out, shape(&x)), SavedNorm { x, weight, scales })
}

impl Saved<2> for SavedNorm {
    fn backward(self, grad: FlexTensor) -> [FlexTensor; 2] {
        let Self { x, weight, scales } = self;
        let grad = grad.to_contiguous();
        let (dx, dw) = norm::backward(slice(&x), slice(&weight), &scales, slice(&grad));
        [dense(dx, shape(&x)), dense(dw, shape(&weight))]
    }
}

#[derive(Debug, Clone)]
struct SavedGate {
    gate: FlexTensor,
    up: FlexTensor,
}

fn gate_forward(gate: FlexTensor, up: FlexTensor) -> (FlexTensor, SavedGate) {
    let [gate, up] = [gate, up].map(|tensor| tensor.to_contiguous());
    let out = gate_of::forward(slice(&gate), slice(&up));
    (dense(out, shape(&gate)), SavedGate { gate, up })
}

impl Saved<2> for SavedGate {
    fn backward(self, grad: FlexTensor) -> [FlexTensor; 2] {
        let Self { gate, up } = self;
        let grad = grad.to_contiguous();
        let (dgate, dup) = gate_of::backward(slice(&gate), slice(&up), slice(&grad));
        [dense(dgate, shape(&gate)), dense(dup, shape(&up))]
    }
}

#[derive(Debug, Clone)]
struct SavedRotary {
    cos: FlexTensor,
    sin: FlexTensor,
}

impl SavedRotary {
    fn new(cos: FlexTensor, sin: FlexTensor) -> Self {
        let [cos, sin] = [cos, sin].map(|tensor| tensor.to_contiguous());
        Self { cos, sin }
    }
}

fn rotate(x: FlexTensor, angles: &SavedRotary, back: bool) -> FlexTensor {
    let x = inner_dense(x);
    let to = shape(&x);
    let sizes = [to[0], to[1], to[2], to[3]];
    let angles = Angles {
        cos: slice(&angles.cos),
        sin: slice(&angles.sin),
        shared: shape(&angles.cos)[0] == 1,
    };
    dense(turn(view(&x), sizes, angles, back), to)
}

impl Saved<1> for SavedRotary {
    fn backward(self, grad: FlexTensor) -> [FlexTensor; 1] {
        [rotate(grad, &self, true)]
    }
}

fn heads(q: &FlexTensor, k: &FlexTensor) -> Heads {
    Heads {
        heads: shape(q)[1],
        kv_heads: shape(k)[1],
        dim: shape(q)[3],
    }
}

fn shape(tensor: &FlexTensor) -> Shape {
    tensor.layout().shape().clone()
}
