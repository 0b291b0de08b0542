//! The fused operations as differentiable operations of Burn, on every backend that has them.
//!
//! On the host they are generic over the backend ([`on_host`]); LibTorch replaces those that it has a kernel for on a GPU.

mod linear;
pub(crate) mod on_host;

use std::sync::Arc;

#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "tch")]
use burn::backend::LibTorch;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};

use crate::Documents;
use crate::extension::operations;
use crate::host::HostBackend;
use crate::host_targets::HostTargets;
use crate::tracked::{Saved, tracked};

operations! {
    Fused by Kernels: HostBackend on Flex "flex", LibTorch "tch";

    /// See [`crate::document_attention`].
    fn attention[q: 4, k: 4, v: 4](; documents: Documents) -> 4 = on_host::attention;

    /// See [`crate::cached_attention`]; only in the host's memory. Not differentiable: no training goes through a cache.
    fn cached_attention[](q: 4, k: 4, v: 4; starts: Arc<[usize]>) -> 4 = on_host::cached_attention;

    /// The losses of all tokens, `[tokens]`; see [`crate::linear_cross_entropy`]. Only their sum may be differentiated: the
    /// backward pass takes the first entry of its gradient for all.
    fn loss[hidden: 2, weight: 2](; targets: Arc<HostTargets>) -> 1 = on_host::loss;

    /// See [`crate::rms_norm`].
    fn rms_norm[x: 3, weight: 1](; epsilon: f64, dtype: DType) -> 3 = on_host::rms_norm;

    /// See [`crate::swiglu`].
    fn swiglu[gate: 3, up: 3](;) -> 3 = on_host::swiglu;

    /// See [`crate::rotary`].
    fn rotary[x: 4](cos: 4, sin: 4;) -> 4 = on_host::rotary;

    /// See [`crate::linear`]. The same on every backend.
    fn linear[x: 2, weight: 2](;) -> 2 = linear::forward;
}
