//! Rotary position embedding, half-split.

use burn::tensor::{DType, Tensor};

/// Rotates each pair `(x[j], x[j + head_dim/2])` by its angle (Su et al. 2021, arXiv:2104.09864, in the
/// half-split arrangement of GPT-NeoX, which the checkpoints use).
///
/// # Shapes
/// - `x`, output: `[batch, heads, seq, head_dim]`
/// - `cos`, `sin`: `[batch or 1, 1, seq, head_dim / 2]`, `f32`; they get no gradient
pub fn rotary(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_fused(&x) {
        return crate::fused::rotary(x, cos, sin);
    }
    plain_rotary(x, cos, sin)
}

/// [`rotary`] in plain tensor operations: the reference of the fast ones.
///
/// # Shapes
/// As [`rotary`].
pub fn plain_rotary(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let dtype = x.dtype();
    let half = x.dims()[3] / 2;
    let x = x.cast(DType::F32);
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    Tensor::cat(
        vec![
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ],
        3,
    )
    .cast(dtype)
}
