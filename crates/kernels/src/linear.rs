//! Product with a weight.

use burn::tensor::Tensor;

/// `x · weightᵀ` in the dtype of `x`; the weight's gradient is rounded to the weight's own.
///
/// # Shapes
/// - `x`: `[tokens, in]`
/// - `weight`: `[out, in]`
/// - output: `[tokens, out]`
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_fused(&x) {
        return crate::fused::linear(x, weight);
    }
    plain_linear(x, weight)
}

/// [`linear`] in plain tensor operations: the reference of the fast one.
///
/// # Shapes
/// As [`linear`].
pub fn plain_linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let weight = weight.cast(x.dtype());
    x.matmul(weight.transpose())
}
