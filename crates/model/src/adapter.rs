//! An adapter of one matrix; how a model gets and gives them is in `lora.rs`.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use smollm3_kernels::linear;

/// An adapter of one matrix.
#[derive(Module, Debug)]
pub struct Adapter {
    /// `[rank, in]`.
    pub lora_a: Param<Tensor<2>>,
    /// `[out, rank]`.
    pub lora_b: Param<Tensor<2>>,
    /// As [`Lora::scale`](smollm3_recipe::Lora::scale).
    pub(crate) scale: f64,
}

impl Adapter {
    /// What it adds to the matrix's product.
    ///
    /// # Shapes
    /// - `x`: `[tokens, in]`
    /// - output: `[tokens, out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(linear(x, self.lora_a.val()), self.lora_b.val()).mul_scalar(self.scale)
    }

    /// What it adds to the matrix, `[out, in]`.
    pub(crate) fn product(&self) -> Tensor<2> {
        self.lora_b.val().matmul(self.lora_a.val()).mul_scalar(self.scale)
    }
}
