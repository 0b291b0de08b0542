//! Cross-entropy of a linear head, without the caller ever seeing logits.

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::log_softmax};

/// The tokens to predict, with gaps.
#[derive(Debug, Clone)]
pub struct Targets {
    ids: Tensor<1, Int>,
    weights: Tensor<1>,
    /// The same on the host, −1 where nothing is to be predicted.
    host: Arc<[i32]>,
    count: usize,
}

impl Targets {
    /// Targets of a flat list of positions; `None` where nothing is to be predicted.
    pub fn new(ids: &[Option<u32>], device: &Device) -> Self {
        let weights: Vec<f32> = ids
            .iter()
            .map(|id| if id.is_some() { 1.0 } else { 0.0 })
            .collect();
        let count = ids.iter().flatten().count();
        let filled: Vec<i32> = ids.iter().map(|id| id.unwrap_or(0) as i32).collect();
        let shape = [ids.len()];
        Self {
            ids: Tensor::from_data(TensorData::new(filled, shape), device),
            weights: Tensor::from_data(TensorData::new(weights, shape), (device, DType::F32)),
            host: ids.iter().map(|id| id.map_or(-1, |id| id as i32)).collect(),
            count,
        }
    }

    /// How many positions have a target.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Summed token losses of a micro-batch and how many tokens they are.
#[derive(Debug, Clone)]
pub struct LossSum {
    /// Σ −ln p(target), in nats, `[1]`, `f32`.
    pub sum: Tensor<1>,
    /// −ln p(target) of each token, 0 where there is no target, `[tokens]`, `f32`; without gradient.
    pub losses: Tensor<1>,
    /// Number of targets.
    pub count: usize,
}

impl LossSum {
    fn of(losses: Tensor<1>, count: usize) -> Self {
        Self {
            sum: losses.clone().sum(),
            losses: losses.detach(),
            count,
        }
    }
}

/// Sum of cross-entropies of `softmax(hidden · weightᵀ)` against `targets`.
///
/// # Shapes
/// - `hidden`: `[tokens, hidden_size]`
/// - `weight`: `[vocab_size, hidden_size]`
/// - `targets`: `tokens` entries
pub fn linear_cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: &Targets) -> LossSum {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_fused(&hidden) {
        let losses = crate::fused::loss(hidden, weight, Arc::clone(&targets.host));
        return LossSum::of(losses, targets.count);
    }
    plain_linear_cross_entropy(hidden, weight, targets)
}

/// [`linear_cross_entropy`] in plain tensor operations: the reference of the fast ones. Holds all logits.
///
/// # Shapes
/// As [`linear_cross_entropy`].
pub fn plain_linear_cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: &Targets) -> LossSum {
    LossSum::of(token_log_probs(hidden, weight, targets).neg(), targets.count)
}

/// `ln p(target)` of every position, 0 where there is no target. `[tokens]`, `f32`.
///
/// # Shapes
/// As [`linear_cross_entropy`].
pub fn token_log_probs(hidden: Tensor<2>, weight: Tensor<2>, targets: &Targets) -> Tensor<1> {
    let tokens = hidden.dims()[0];
    let weight = weight.cast(hidden.dtype());
    let logits = hidden.matmul(weight.transpose()).cast(DType::F32); // [tokens, vocab_size]
    let chosen = log_softmax(logits, 1).gather(1, targets.ids.clone().reshape([tokens, 1]));
    chosen.reshape([tokens]) * targets.weights.clone()
}
