//! Cross-entropy of a linear head; logits stay internal.

use std::sync::Arc;

use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation::log_softmax};

use crate::blocks;
use crate::dtype::accumulator;
use crate::host_targets::HostTargets;

/// Tokens whose logits a GPU of LibTorch holds at once.
pub const LOSS_ROWS: usize = 1024;

/// The tokens to predict, with gaps.
#[derive(Debug, Clone)]
pub struct Targets {
    /// 0 where there is nothing to predict. On the host, because only the plain body reads it.
    ids: Arc<[i32]>,
    /// The same.
    weights: Arc<[f32]>,
    count: usize,
    host: Arc<HostTargets>,
    /// The positions in `host`, if it omits gaps.
    positions: Option<Tensor<1, Int>>,
}

impl Targets {
    /// Targets of a flat list of positions; `None` where there is nothing to predict.
    pub fn new(ids: &[Option<u32>], device: &Device) -> Self {
        Self::with_weights(ids, None, device)
    }

    /// Targets whose losses are multiplied by `weights`, one per position.
    pub fn weighted(ids: &[Option<u32>], weights: &[f32], device: &Device) -> Self {
        Self::with_weights(ids, Some(weights), device)
    }

    fn with_weights(ids: &[Option<u32>], weights: Option<&[f32]>, device: &Device) -> Self {
        let weight = |at: usize| weights.map_or(1.0, |weights| weights.get(at).copied().unwrap_or(0.0));
        let of_all: Vec<f32> = ids
            .iter()
            .enumerate()
            .map(|(at, id)| id.map_or(0.0, |_| weight(at)))
            .collect();
        let count = ids.iter().flatten().count();
        // Omitting rows costs a copy of the others.
        let sparse = count > 0 && count * 8 <= ids.len() * 7;
        let kept: Vec<usize> = (0..ids.len())
            .filter(|at| !sparse || ids[*at].is_some())
            .collect();
        let positions = sparse.then(|| kept.iter().map(|at| *at as i32).collect());
        Self {
            ids: ids.iter().map(|id| id.unwrap_or(0) as i32).collect(),
            weights: of_all.into(),
            count,
            host: Arc::new(HostTargets {
                ids: kept
                    .iter()
                    .map(|at| ids[*at].map_or(-1, |id| id as i32))
                    .collect(),
                weights: weights.map(|_| kept.iter().map(|at| weight(*at)).collect()),
            }),
            positions: positions.map(|positions| crate::upload(positions, device)),
        }
    }

    /// Number of positions with a target.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Summed token losses of a micro-batch.
#[derive(Debug, Clone)]
pub struct LossSum {
    /// Σ −ln p(target), in nats, each multiplied by its weight, `[1]`; `f32`, or `f64` where `hidden` is.
    pub sum: Tensor<1>,
    /// The summands: one per token, 0 without a target, `[tokens]`, in the same type; without gradient.
    pub losses: Tensor<1>,
}

impl LossSum {
    fn of(losses: Tensor<1>) -> Self {
        Self {
            sum: crate::total(losses.clone()),
            losses: losses.detach(),
        }
    }
}

/// Sum of cross-entropies of `softmax(hidden · weightᵀ)` against `targets`. The logits of all tokens are never held:
/// where the backend has no kernel for it, [`blockwise_linear_cross_entropy`] runs.
///
/// # Shapes
/// - `hidden`: `[tokens, hidden_size]`
/// - `weight`: `[vocab_size, hidden_size]`
/// - `targets`: `tokens` entries
pub fn linear_cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: &Targets) -> LossSum {
    if crate::device::are_plain_wanted() {
        return plain_linear_cross_entropy(hidden, weight, targets);
    }
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_fused(&hidden) {
        return over_targets(hidden, targets, |rows, targets| {
            crate::fused::loss(rows, weight, targets)
        });
    }
    let block = blocks::loss_block(weight.dims()[0]);
    blockwise_linear_cross_entropy(hidden, weight, targets, block)
}

/// [`linear_cross_entropy`] over blocks of `block` tokens, on any backend.
///
/// # Shapes
/// As [`linear_cross_entropy`].
///
/// # Panics
/// `block` is 0.
pub fn blockwise_linear_cross_entropy(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: &Targets,
    block: usize,
) -> LossSum {
    over_targets(hidden, targets, |rows, targets| {
        blocks::loss(rows, weight, targets, block)
    })
}

/// The losses of the rows with a target; only those are multiplied by the head.
fn over_targets(
    hidden: Tensor<2>,
    targets: &Targets,
    loss: impl FnOnce(Tensor<2>, Arc<HostTargets>) -> Tensor<1>,
) -> LossSum {
    let Some(positions) = &targets.positions else {
        let losses = loss(hidden, Arc::clone(&targets.host));
        return LossSum::of(losses);
    };
    let tokens = hidden.dims()[0];
    let rows = hidden.select(0, positions.clone());
    let losses = loss(rows, Arc::clone(&targets.host));
    let LossSum { sum, losses } = LossSum::of(losses);
    let zeros = Tensor::zeros([tokens], (&losses.device(), losses.dtype()));
    LossSum {
        sum,
        losses: zeros.select_assign(0, positions.clone(), losses, IndexingUpdateOp::Add),
    }
}

/// [`linear_cross_entropy`] in plain tensor operations: the reference of the fast ones. Holds all logits.
///
/// # Shapes
/// As [`linear_cross_entropy`].
pub fn plain_linear_cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: &Targets) -> LossSum {
    LossSum::of(token_log_probs(hidden, weight, targets).neg())
}

/// `ln p(target)` of every position, multiplied by its weight, 0 where there is no target. `[tokens]`,
/// in the type of [`LossSum::sum`].
///
/// # Shapes
/// As [`linear_cross_entropy`].
pub fn token_log_probs(hidden: Tensor<2>, weight: Tensor<2>, targets: &Targets) -> Tensor<1> {
    let (tokens, device) = (hidden.dims()[0], hidden.device());
    let ids = crate::upload(targets.ids.to_vec(), &device).reshape([tokens, 1]);
    let weights = TensorData::new(targets.weights.to_vec(), [tokens]);
    let weights = Tensor::<1>::from_data(weights, (&device, DType::F32));
    let weight = weight.cast(hidden.dtype());
    let wide = accumulator(hidden.dtype());
    let logits = hidden.matmul(weight.transpose()).cast(wide); // [tokens, vocab_size]
    let chosen = log_softmax(logits, 1).gather(1, ids);
    chosen.reshape([tokens]) * weights.cast(wide)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::Transfers;

    /// Each copy from pageable memory would wait for a GPU, in every micro-batch.
    #[test]
    fn targets_go_to_the_device_with_the_body_that_reads_them() {
        let device = Device::flex();
        let before = Transfers::so_far();
        let all: Vec<Option<u32>> = (0..16).map(Some).collect();
        let dense = Targets::new(&all, &device);
        assert!(dense.positions.is_none());
        assert_eq!(Transfers::so_far(), before);
        // Positions select the rows with a target.
        let sparse = Targets::new(&[Some(1), None, None], &device);
        assert!(sparse.positions.is_some());
        assert_eq!(Transfers::so_far().uploads, before.uploads + 1);
    }
}
