//! The gate of the feed-forward block.

use burn::tensor::{Tensor, activation::silu};

/// `silu(gate) · up` (Shazeer 2020, arXiv:2002.05202).
///
/// # Shapes
/// - all: `[batch, seq, intermediate_size]`
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_fused(&gate) {
        return crate::fused::swiglu(gate, up);
    }
    plain_swiglu(gate, up)
}

/// [`swiglu`] in plain tensor operations: the reference of the fast ones.
///
/// # Shapes
/// As [`swiglu`].
pub fn plain_swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    silu(gate) * up
}
