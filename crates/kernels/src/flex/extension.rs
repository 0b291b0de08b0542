//! The fused operations as differentiable operations of Burn.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};

use super::attention::{Heads, Saved, View, backward, forward};
use super::cross_entropy::{self as loss, LossGradients};
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
}

/// Attention on a device of this backend, with or without autodiff.
pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, documents: &Documents) -> Tensor<4> {
    let documents = Arc::new(documents.clone());
    let out = <Dispatch as Fused>::fused_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        documents,
    );
    Tensor::from_dispatch(out)
}

/// Summed cross-entropy on a device of this backend, with or without autodiff.
pub(crate) fn cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: Arc<[i32]>) -> Tensor<1> {
    let out =
        <Dispatch as Fused>::fused_cross_entropy(hidden.into_dispatch(), weight.into_dispatch(), targets);
    Tensor::from_dispatch(out)
}

impl Fused for Flex {
    fn fused_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, documents: Arc<Documents>) -> FlexTensor {
        let (q, k, v) = (inner_dense(q), inner_dense(k), inner_dense(v));
        let (out, _) = forward(view(&q), view(&k), view(&v), heads(&q, &k), &documents);
        dense(out, q.layout().shape().clone())
    }

    fn fused_cross_entropy(hidden: FlexTensor, weight: FlexTensor, targets: Arc<[i32]>) -> FlexTensor {
        let (hidden, weight) = (hidden.to_contiguous(), weight.to_contiguous());
        let (sum, _) = loss::cross_entropy(
            slice(&hidden),
            slice(&weight),
            &targets,
            loss_shape(&hidden, &weight),
            false,
        );
        dense(vec![sum as f32], Shape::from([1]))
    }
}

#[derive(Debug)]
struct Attention;

#[derive(Debug, Clone)]
struct AttentionState {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    out: FlexTensor,
    lse: Arc<Vec<f32>>,
    documents: Arc<Documents>,
}

impl Backward<Flex, 3> for Attention {
    type State = AttentionState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let AttentionState {
            q,
            k,
            v,
            out,
            lse,
            documents,
        } = ops.state;
        let grad = inner_dense(grads.consume::<Flex>(&ops.node));
        let saved = Saved {
            q: view(&q),
            k: view(&k),
            v: view(&v),
            out: slice(&out),
            lse: &lse,
        };
        let result = backward(&saved, view(&grad), heads(&q, &k), &documents);
        for (node, (values, like)) in
            ops.parents
                .into_iter()
                .zip([(result.q, &q), (result.k, &k), (result.v, &v)])
        {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, dense(values, like.layout().shape().clone()));
            }
        }
    }
}

#[derive(Debug)]
struct CrossEntropy;

impl Backward<Flex, 2> for CrossEntropy {
    type State = (Arc<LossGradients>, [Shape; 2]);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (gradients, shapes) = ops.state;
        let scale = slice(&grads.consume::<Flex>(&ops.node).to_contiguous())
            .first()
            .copied()
            .unwrap_or(0.0);
        // The graph has let go of its own copy, so this is the only one as a rule.
        let LossGradients { hidden, weight } = Arc::unwrap_or_clone(gradients);
        for ((node, mut values), shape) in ops.parents.into_iter().zip([hidden, weight]).zip(shapes) {
            if let Some(node) = node {
                values.iter_mut().for_each(|value| *value *= scale);
                grads.register::<Flex>(node.id, dense(values, shape));
            }
        }
    }
}

impl<C: CheckpointStrategy> Fused for Autodiff<Flex, C> {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Arc<Documents>,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let [q, k, v] = [q, k, v].map(|tensor| inner_dense(tensor.primitive().clone()));
        let (values, lse) = forward(view(&q), view(&k), view(&v), heads(&q, &k), &documents);
        let out = dense(values, q.layout().shape().clone());
        match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = AttentionState {
                    q,
                    k,
                    v,
                    out: out.clone(),
                    lse: Arc::new(lse),
                    documents,
                };
                prep.finish(state, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }

    fn fused_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<[i32]>,
    ) -> FloatTensor<Self> {
        let nodes = [hidden.node(), weight.node()];
        let hidden = hidden.primitive().to_contiguous();
        let weight = weight.primitive().to_contiguous();
        let shape = loss_shape(&hidden, &weight);
        let run = |with| loss::cross_entropy(slice(&hidden), slice(&weight), &targets, shape, with);
        match CrossEntropy.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (sum, gradients) = run(true);
                let gradients = gradients.unwrap_or(LossGradients {
                    hidden: Vec::new(),
                    weight: Vec::new(),
                });
                let shapes = [hidden.layout().shape().clone(), weight.layout().shape().clone()];
                prep.finish(
                    (Arc::new(gradients), shapes),
                    dense(vec![sum as f32], Shape::from([1])),
                )
            }
            OpsKind::UnTracked(prep) => prep.finish(dense(vec![run(false).0 as f32], Shape::from([1]))),
        }
    }
}

fn loss_shape(hidden: &FlexTensor, weight: &FlexTensor) -> loss::Shape {
    let (hidden, weight) = (hidden.layout().shape(), weight.layout().shape());
    loss::Shape {
        tokens: hidden[0],
        width: hidden[1],
        vocab: weight[0],
    }
}

fn heads(q: &FlexTensor, k: &FlexTensor) -> Heads {
    let shape = q.layout().shape();
    Heads {
        heads: shape[1],
        kv_heads: k.layout().shape()[1],
        dim: shape[3],
    }
}

/// The tensor itself if its last axis is dense and no stride is negative, else a contiguous copy.
fn inner_dense(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    let usable = strides.last() == Some(&1) && strides.iter().all(|stride| *stride >= 0);
    if usable { tensor } else { tensor.to_contiguous() }
}

fn view(tensor: &FlexTensor) -> View<'_> {
    let strides = tensor.layout().strides();
    View {
        data: &tensor.storage::<f32>()[tensor.layout().start_offset()..],
        strides: [strides[0] as usize, strides[1] as usize, strides[2] as usize],
    }
}

/// The numbers of a contiguous tensor.
fn slice(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    &tensor.storage::<f32>()[start..start + tensor.layout().num_elements()]
}

fn dense(values: Vec<f32>, shape: Shape) -> FlexTensor {
    let bytes = burn::tensor::Bytes::from_elems(values);
    FlexTensor::new(bytes, Layout::contiguous(shape), DType::F32)
}
