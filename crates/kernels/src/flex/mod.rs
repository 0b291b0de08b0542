//! The fused operations on the `flex` backend.
//!
//! Burn's composed operations write every intermediate to memory, a whole score matrix or the full logits among
//! them. These keep one block in cache, and their backward passes compute again what is cheap to compute again.

mod cross_entropy;
mod tensor;

use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;

use self::cross_entropy::LossGradients;
use self::tensor::{dense, inner_dense, shape, slice, slice_mut, view};
use crate::fused::{Kernels, Saved};
use crate::host::attention::{self, Heads};
use crate::host::{self, Angles, Threads};
use crate::loss::Wanted;
use crate::{AdamWStep, Documents};

impl Kernels for Flex {
    type Attention = SavedAttention;
    type Loss = SavedLoss;
    type Norm = SavedNorm;
    type Gate = SavedGate;
    type Rotary = SavedRotary;

    fn attention_forward(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        documents: Documents,
    ) -> (FlexTensor, SavedAttention) {
        let [q, k, v] = [q, k, v].map(inner_dense);
        let (values, lse) = attention::forward(
            view(&q),
            view(&k),
            view(&v),
            heads(&q, &k),
            &documents,
            Threads::Rayon,
        );
        let out = dense(values, shape(&q));
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

    fn cached_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, starts: &[usize]) -> FlexTensor {
        let [q, k, v] = [q, k, v].map(inner_dense);
        let sizes = [shape(&q)[2], shape(&k)[2]];
        let values = attention::extend(
            view(&q),
            view(&k),
            view(&v),
            heads(&q, &k),
            starts,
            sizes,
            Threads::Rayon,
        );
        dense(values, shape(&q))
    }

    fn loss_forward(
        hidden: FlexTensor,
        weight: FlexTensor,
        targets: &Wanted,
        wanted: [bool; 2],
    ) -> (FlexTensor, SavedLoss) {
        let [hidden, weight] = [hidden, weight].map(|tensor| tensor.to_contiguous());
        let sizes = cross_entropy::Shape {
            tokens: shape(&hidden)[0],
            width: shape(&hidden)[1],
            vocab: shape(&weight)[0],
        };
        let (losses, gradients) =
            cross_entropy::cross_entropy(slice(&hidden), slice(&weight), targets, sizes, wanted);
        let saved = SavedLoss {
            gradients: Arc::new(gradients),
            shapes: [shape(&hidden), shape(&weight)],
        };
        (dense(losses, Shape::from([sizes.tokens])), saved)
    }

    fn rms_norm_forward(
        x: FlexTensor,
        weight: FlexTensor,
        epsilon: f64,
        _: DType,
    ) -> (FlexTensor, SavedNorm) {
        let [x, weight] = [x, weight].map(|tensor| tensor.to_contiguous());
        let (numbers, width) = (slice(&x).len(), slice(&weight).len());
        let (mut out, mut scales) = (vec![0f32; numbers], vec![0.0; numbers / width]);
        host::rms_norm(
            slice(&x),
            slice(&weight),
            epsilon as f32,
            &mut out,
            &mut scales,
            Threads::Rayon,
        );
        let scales = Arc::new(scales);
        (dense(out, shape(&x)), SavedNorm { x, weight, scales })
    }

    fn swiglu_forward(gate: FlexTensor, up: FlexTensor) -> (FlexTensor, SavedGate) {
        let [gate, up] = [gate, up].map(|tensor| tensor.to_contiguous());
        let mut out = vec![0f32; slice(&gate).len()];
        host::swiglu(slice(&gate), slice(&up), &mut out, Threads::Rayon);
        (dense(out, shape(&gate)), SavedGate { gate, up })
    }

    fn rotary_forward(x: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> (FlexTensor, SavedRotary) {
        let [cos, sin] = [cos, sin].map(|tensor| tensor.to_contiguous());
        let saved = SavedRotary { cos, sin };
        (saved.turn(x, false), saved)
    }

    fn adamw_update(
        value: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        gradient: FlexTensor,
        step: AdamWStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let gradient = gradient.to_contiguous();
        let [mut value, mut first, mut second] = [value, first, second].map(|tensor| tensor.to_contiguous());
        host::adamw(
            slice_mut(&mut value),
            slice_mut(&mut first),
            slice_mut(&mut second),
            slice(&gradient),
            step,
            Threads::Rayon,
        );
        (value, first, second)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedAttention {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    out: FlexTensor,
    lse: Arc<Vec<f32>>,
    documents: Documents,
}

impl Saved<Flex, 3> for SavedAttention {
    fn backward(self, grad: FlexTensor) -> [Option<FlexTensor>; 3] {
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
        let result = attention::backward(&saved, view(&grad), heads(&q, &k), &documents, Threads::Rayon);
        [(result.q, &q), (result.k, &k), (result.v, &v)]
            .map(|(values, like)| Some(dense(values, shape(like))))
    }
}

/// The summed loss is linear in its gradient, so that what it is multiplied by can come later.
#[derive(Debug, Clone)]
pub(crate) struct SavedLoss {
    gradients: Arc<LossGradients>,
    shapes: [Shape; 2],
}

impl Saved<Flex, 2> for SavedLoss {
    fn backward(self, grad: FlexTensor) -> [Option<FlexTensor>; 2] {
        let scale = slice(&grad.to_contiguous()).first().copied().unwrap_or(0.0);
        // The graph has let go of its own copy, so this is the only one as a rule.
        let LossGradients { hidden, weight } = Arc::unwrap_or_clone(self.gradients);
        let [hidden_shape, weight_shape] = self.shapes;
        [(hidden, hidden_shape), (weight, weight_shape)].map(|(values, shape)| {
            values.map(|mut values| {
                values.iter_mut().for_each(|value| *value *= scale);
                dense(values, shape)
            })
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedNorm {
    x: FlexTensor,
    weight: FlexTensor,
    scales: Arc<Vec<f32>>,
}

impl Saved<Flex, 2> for SavedNorm {
    fn backward(self, grad: FlexTensor) -> [Option<FlexTensor>; 2] {
        let Self { x, weight, scales } = self;
        let grad = grad.to_contiguous();
        let mut dx = vec![0.0; slice(&x).len()];
        let dw = host::rms_norm_backward(
            slice(&x),
            slice(&weight),
            &scales,
            slice(&grad),
            &mut dx,
            Threads::Rayon,
        );
        [dense(dx, shape(&x)), dense(dw, shape(&weight))].map(Some)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedGate {
    gate: FlexTensor,
    up: FlexTensor,
}

impl Saved<Flex, 2> for SavedGate {
    fn backward(self, grad: FlexTensor) -> [Option<FlexTensor>; 2] {
        let Self { gate, up } = self;
        let grad = grad.to_contiguous();
        let numbers = slice(&gate).len();
        let (mut dgate, mut dup) = (vec![0f32; numbers], vec![0f32; numbers]);
        host::swiglu_backward(
            slice(&gate),
            slice(&up),
            slice(&grad),
            &mut dgate,
            &mut dup,
            Threads::Rayon,
        );
        [dense(dgate, shape(&gate)), dense(dup, shape(&up))].map(Some)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedRotary {
    cos: FlexTensor,
    sin: FlexTensor,
}

impl SavedRotary {
    fn turn(&self, x: FlexTensor, back: bool) -> FlexTensor {
        let x = inner_dense(x);
        let to = shape(&x);
        let [batch, heads, seq, dim] = [to[0], to[1], to[2], to[3]];
        let angles = Angles {
            cos: slice(&self.cos),
            sin: slice(&self.sin),
            shared: shape(&self.cos)[0] == 1,
        };
        let mut out = vec![0f32; batch * heads * seq * dim];
        host::rotary(
            view(&x),
            [batch, heads, seq, dim],
            angles,
            back,
            &mut out,
            Threads::Rayon,
        );
        dense(out, Shape::from([batch, seq, heads, dim])).transpose(1, 2)
    }
}

impl Saved<Flex, 1> for SavedRotary {
    fn backward(self, grad: FlexTensor) -> [Option<FlexTensor>; 1] {
        [Some(self.turn(grad, true))]
    }
}

fn heads(q: &FlexTensor, k: &FlexTensor) -> Heads {
    Heads {
        heads: shape(q)[1],
        kv_heads: shape(k)[1],
        dim: shape(q)[3],
    }
}
