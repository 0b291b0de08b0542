//! Attention and cross-entropy in blocks, in Burn's own tensor operations: for every backend and dtype that has no
//! kernel of its own for them. Neither the scores of a whole row nor the logits of all tokens are ever held.

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
use crate::loss::Wanted;
use crate::tracked::tracked;

/// Scores that are held at once, over all rows and heads: 16 MiB in `f32`.
const SCORES: usize = 1 << 22;
/// Logits that are held at once: 128 MiB in `f32`.
const LOGITS: usize = 1 << 25;

/// Queries (and keys) of a block for `batch · heads` score matrices.
pub(crate) fn attention_block(batch: usize, heads: usize) -> usize {
    let fitting = (SCORES / (batch * heads).max(1)).isqrt();
    // A power of two, which matrix products like.
    1 << fitting.clamp(64, 1024).ilog2()
}

/// Tokens of a block for logits of `vocab` entries.
pub(crate) fn loss_block(vocab: usize) -> usize {
    (LOGITS / vocab.max(1)).clamp(1, 4096)
}

/// The operations as Burn sees them.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    LibTorch: cfg(feature = "tch"),
    Cube: cfg(feature = "wgpu"),
    Autodiff
)]
pub(crate) trait Blockwise: Backend {
    fn blockwise_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Documents,
        block: usize,
    ) -> FloatTensor<Self>;

    fn blockwise_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<Wanted>,
        block: usize,
    ) -> FloatTensor<Self>;
}

/// See [`crate::blockwise_document_attention`].
pub(crate) fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    documents: &Documents,
    block: usize,
) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    let documents = documents.clone();
    Tensor::from_dispatch(<Dispatch as Blockwise>::blockwise_attention(
        q, k, v, documents, block,
    ))
}

/// Cross-entropy of each token, `[tokens]`; only its sum may be differentiated.
pub(crate) fn loss(hidden: Tensor<2>, weight: Tensor<2>, targets: Arc<Wanted>, block: usize) -> Tensor<1> {
    let [hidden, weight] = [hidden, weight].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Blockwise>::blockwise_loss(
        hidden, weight, targets, block,
    ))
}

macro_rules! blockwise_without_autodiff {
    ($backend:ty) => {
        impl Blockwise for $backend {
            fn blockwise_attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                documents: Documents,
                block: usize,
            ) -> FloatTensor<Self> {
                attention::forward::<Self>(q, k, v, documents, block).0
            }

            fn blockwise_loss(
                hidden: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                targets: Arc<Wanted>,
                block: usize,
            ) -> FloatTensor<Self> {
                cross_entropy::forward::<Self>(hidden, weight, &targets, block, [false; 2]).0
            }
        }
    };
}

#[cfg(feature = "flex")]
blockwise_without_autodiff!(Flex);
#[cfg(feature = "tch")]
blockwise_without_autodiff!(LibTorch);
#[cfg(feature = "wgpu")]
blockwise_without_autodiff!(Cube);

impl<B: Backend, C: CheckpointStrategy> Blockwise for Autodiff<B, C> {
    fn blockwise_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        documents: Documents,
        block: usize,
    ) -> FloatTensor<Self> {
        tracked::<B, C, _, 3>([q, k, v], |[q, k, v], _| {
            attention::forward::<B>(q, k, v, documents, block)
        })
    }

    fn blockwise_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<Wanted>,
        block: usize,
    ) -> FloatTensor<Self> {
        tracked::<B, C, _, 2>([hidden, weight], |[hidden, weight], wanted| {
            cross_entropy::forward::<B>(hidden, weight, &targets, block, wanted)
        })
    }
}
