//! What all layers need to know about the rows of a batch.

use burn::tensor::{DType, Tensor};
use smollm3_kernels::Documents;

/// Angles, documents and precision of the rows of a batch.
#[derive(Debug, Clone)]
pub struct RowContext<'d> {
    /// Cosines and sines of each position, see [`crate::Rope::at`].
    pub angles: (Tensor<4>, Tensor<4>),
    /// Document boundaries.
    pub documents: &'d Documents,
    /// The dtype of matrix products.
    pub precision: DType,
}
