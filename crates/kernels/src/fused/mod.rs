//! The fused operations as differentiable operations of Burn, on every backend that has them.
//!
//! A backend says in [`Kernels`] how each is computed and what its backward pass needs ([`Saved`]); here they become
//! one extension of Burn's dispatch, with and without autodiff.

mod linear;

use std::sync::Arc;

#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "tch")]
use burn::backend::LibTorch;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};

use crate::loss::Wanted;
pub(crate) use crate::tracked::Saved;
use crate::tracked::tracked;
use crate::{AdamWStep, Documents};
use linear::SavedLinear;

/// The fused operations of one backend. Each returns what its backward pass needs.
pub(crate) trait Kernels: Backend {
    /// Of [`Kernels::attention_forward`].
    type Attention: Saved<Self, 3>;
    /// Of [`Kernels::loss_forward`].
    type Loss: Saved<Self, 2>;
    /// Of [`Kernels::rms_norm_forward`].
    type Norm: Saved<Self, 2>;
    /// Of [`Kernels::swiglu_forward`].
    type Gate: Saved<Self, 2>;
    /// Of [`Kernels::rotary_forward`].
    type Rotary: Saved<Self, 1>;

    /// See [`crate::document_attention`].
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Documents,
    ) -> (FloatTensor<Self>, Self::Attention);

    /// See [`crate::cached_attention`]; only in the host's memory.
    fn cached_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        starts: &[usize],
    ) -> FloatTensor<Self>;

    /// The losses of all tokens, `[tokens]`; see [`crate::linear_cross_entropy`]. Gradients of the `wanted` ones of
    /// `hidden` and `weight`, and only of the sum: the backward pass takes the first entry of its gradient for all.
    fn loss_forward(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: &Wanted,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, Self::Loss);

    /// See [`crate::rms_norm`].
    fn rms_norm_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        dtype: DType,
    ) -> (FloatTensor<Self>, Self::Norm);

    /// See [`crate::swiglu`].
    fn swiglu_forward(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> (FloatTensor<Self>, Self::Gate);

    /// See [`crate::rotary`].
    fn rotary_forward(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, Self::Rotary);

    /// See [`crate::adamw`].
    fn adamw_update(
        value: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The fused operations as Burn sees them.
#[backend_extension(Flex: cfg(feature = "flex"), LibTorch: cfg(feature = "tch"), Autodiff)]
pub(crate) trait Fused: Backend {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Documents,
    ) -> FloatTensor<Self>;

    fn fused_cached_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        starts: Arc<[usize]>,
    ) -> FloatTensor<Self>;

    fn fused_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<Wanted>,
    ) -> FloatTensor<Self>;

    fn fused_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        dtype: DType,
    ) -> FloatTensor<Self>;

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_adamw(
        value: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Attention on a device that has it fused.
pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, documents: &Documents) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    let documents = documents.clone();
    Tensor::from_dispatch(<Dispatch as Fused>::fused_attention(q, k, v, documents))
}

/// Attention of the last tokens of rows in the host's memory.
pub(crate) fn cached_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, starts: Arc<[usize]>) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_cached_attention(q, k, v, starts))
}

/// Cross-entropy of each token on a device that has it fused; only its sum may be differentiated.
pub(crate) fn loss(hidden: Tensor<2>, weight: Tensor<2>, targets: Arc<Wanted>) -> Tensor<1> {
    let [hidden, weight] = [hidden, weight].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_loss(hidden, weight, targets))
}

/// Norm on a device that has it fused.
pub(crate) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64, dtype: DType) -> Tensor<3> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Fused>::fused_rms_norm(x, weight, epsilon, dtype))
}

/// Gate on a device that has it fused.
pub(crate) fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    let [gate, up] = [gate, up].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_swiglu(gate, up))
}

/// Rotation on a device that has it fused.
pub(crate) fn rotary(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [x, cos, sin] = [x, cos, sin].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_rotary(x, cos, sin))
}

/// Product with a weight on a device that has it fused.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Fused>::fused_linear(x, weight))
}

/// Update of one parameter on a device that has it fused.
pub(crate) fn adamw(
    [value, first, second]: [Tensor<1>; 3],
    gradient: Tensor<1>,
    step: AdamWStep,
) -> [Tensor<1>; 3] {
    let [value, first, second, gradient] = [value, first, second, gradient].map(Tensor::into_dispatch);
    let (value, first, second) = <Dispatch as Fused>::fused_adamw(value, first, second, gradient, step);
    [value, first, second].map(Tensor::from_dispatch)
}

macro_rules! fused_without_autodiff {
    ($backend:ty) => {
        impl Fused for $backend {
            fn fused_attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                documents: Documents,
            ) -> FloatTensor<Self> {
                Self::attention_forward(q, k, v, documents).0
            }

            fn fused_cached_attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                starts: Arc<[usize]>,
            ) -> FloatTensor<Self> {
                Self::cached_attention(q, k, v, &starts)
            }

            fn fused_loss(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                targets: Arc<Wanted>,
            ) -> FloatTensor<Self> {
                Self::loss_forward(hidden, weight, &targets, [false; 2]).0
            }

            fn fused_rms_norm(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                epsilon: f64,
                dtype: DType,
            ) -> FloatTensor<Self> {
                Self::rms_norm_forward(x, weight, epsilon, dtype).0
            }

            fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::swiglu_forward(gate, up).0
            }

            fn fused_rotary(
                x: FloatTensor<Self>,
                cos: FloatTensor<Self>,
                sin: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::rotary_forward(x, cos, sin).0
            }

            fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
                SavedLinear::<Self>::forward(x, weight, [false; 2]).0
            }

            fn fused_adamw(
                value: FloatTensor<Self>,
                first: FloatTensor<Self>,
                second: FloatTensor<Self>,
                gradient: FloatTensor<Self>,
                step: AdamWStep,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                Self::adamw_update(value, first, second, gradient, step)
            }
        }
    };
}

#[cfg(feature = "flex")]
fused_without_autodiff!(Flex);
#[cfg(feature = "tch")]
fused_without_autodiff!(LibTorch);

impl<B: Kernels, C: CheckpointStrategy> Fused for Autodiff<B, C> {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Documents,
    ) -> FloatTensor<Self> {
        tracked::<B, C, _, 3>([q, k, v], |[q, k, v], _| B::attention_forward(q, k, v, documents))
    }

    fn fused_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<Wanted>,
    ) -> FloatTensor<Self> {
        tracked::<B, C, _, 2>([hidden, weight], |[hidden, weight], wanted| {
            B::loss_forward(hidden, weight, &targets, wanted)
        })
    }

    fn fused_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        dtype: DType,
    ) -> FloatTensor<Self> {
        tracked::<B, C, _, 2>([x, weight], |[x, weight], _| {
            B::rms_norm_forward(x, weight, epsilon, dtype)
        })
    }

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C, _, 2>([gate, up], |[gate, up], _| B::swiglu_forward(gate, up))
    }

    fn fused_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [cos, sin] = [cos, sin].map(|tensor| tensor.primitive().clone());
        tracked::<B, C, _, 1>([x], |[x], _| B::rotary_forward(x, cos, sin))
    }

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C, _, 2>([x, weight], |[x, weight], wanted| {
            SavedLinear::<B>::forward(x, weight, wanted)
        })
    }

    fn fused_cached_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        starts: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        let [q, k, v] = [q, k, v].map(|tensor| tensor.primitive().clone());
        // Outside the graph: nobody trains through a cache.
        Self::from_inner(B::cached_attention(q, k, v, &starts))
    }

    fn fused_adamw(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("parameters are updated without autodiff")
    }
}
