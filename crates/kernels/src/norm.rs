//! Root-mean-square normalisation.

use burn::tensor::{DType, Tensor};

/// `weight · x / √(mean(x²) + epsilon)` over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467).
///
/// Normalises in `f32`, rounds to the dtype of `x`, then multiplies by the weight, in the order of
/// transformers' `SmolLM3RMSNorm`.
///
/// # Shapes
/// - `x`, output: `[batch, seq, hidden_size]`
/// - `weight`: `[hidden_size]`
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if crate::device::has_flex_kernels(&x) {
        return crate::flex::rms_norm(x, weight, epsilon);
    }
    plain_rms_norm(x, weight, epsilon)
}

/// [`rms_norm`] in plain tensor operations: the reference of the fast ones.
///
/// # Shapes
/// As [`rms_norm`].
pub fn plain_rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let scale = x.clone().square().mean_dim(2).add_scalar(epsilon).sqrt().recip();
    (x * scale).cast(dtype) * weight.unsqueeze()
}
