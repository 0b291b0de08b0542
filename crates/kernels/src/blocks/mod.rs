//! Attention and cross-entropy in blocks, in Burn's tensor operations, for backends and dtypes without a kernel for them.
//! Neither the scores of a whole row nor the logits of all tokens are ever held.

mod attention;
mod cross_entropy;
mod pairs;

use std::sync::Arc;

#[cfg(feature = "wgpu")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(feature = "tch")]
use burn::backend::LibTorch;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::Documents;
use crate::extension::operations;
use crate::host_targets::HostTargets;
use crate::tracked::{Saved, tracked};

/// Scores per block, over all rows and heads: 16 MiB in `f32`.
const SCORES: usize = 1 << 22;
/// Logits per block: 128 MiB in `f32`.
const LOGITS: usize = 1 << 25;

/// Queries (and keys) of a block for `batch · heads` score matrices.
pub(crate) fn attention_block(batch: usize, heads: usize) -> usize {
    let fitting = (SCORES / (batch * heads).max(1)).isqrt();
    // A power of two, which suits matrix products.
    1 << fitting.clamp(64, 1024).ilog2()
}

/// Tokens of a block for logits of `vocab` entries.
pub(crate) fn loss_block(vocab: usize) -> usize {
    (LOGITS / vocab.max(1)).clamp(1, 4096)
}

operations! {
    Blockwise by BlockKernels: Backend on Flex "flex", LibTorch "tch", Cube "wgpu";

    /// See [`crate::blockwise_document_attention`].
    fn attention[q: 4, k: 4, v: 4](; documents: Documents, block: usize) -> 4 = attention::forward;

    /// Cross-entropy of each token, `[tokens]`; only its sum may be differentiated.
    fn loss[hidden: 2, weight: 2](; targets: Arc<HostTargets>, block: usize) -> 1 = cross_entropy::forward;
}

impl<B: Backend> BlockKernels for B {}
