//! Root-mean-square normalisation.

use burn::tensor::{DType, Tensor};

/// `weight · x / √(mean(x²) + epsilon)` over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467), in `dtype`.
///
/// Normalises in `f32`, rounds to `dtype`, then multiplies by the weight, in the order of transformers'
/// `SmolLM3RMSNorm`.
///
/// # Shapes
/// - `x`, output: `[batch, seq, hidden_size]`
/// - `weight`: `[hidden_size]`
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64, dtype: DType) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_fused(&x)
        && (x.dtype(), weight.dtype()) == (DType::F32, DType::F32)
        && matches!(dtype, DType::F32 | DType::BF16)
    {
        return crate::fused::rms_norm(x, weight, epsilon, dtype);
    }
    plain_rms_norm(x, weight, epsilon, dtype)
}

/// [`rms_norm`] in plain tensor operations: the reference of the fast ones.
///
/// # Shapes
/// As [`rms_norm`].
pub fn plain_rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64, dtype: DType) -> Tensor<3> {
    let x = x.cast(DType::F32);
    let scale = x.clone().square().mean_dim(2).add_scalar(epsilon).sqrt().recip();
    (x * scale).cast(dtype) * weight.cast(dtype).unsqueeze()
}
