//! Contiguous tensors and sole owners.

use burn::backend::libtorch::TchTensor;
use tch::Tensor;

pub(super) fn contiguous(tensor: Tensor) -> Tensor {
    match tensor.is_contiguous() {
        true => tensor,
        false => tensor.contiguous(),
    }
}

/// A contiguous tensor whose memory is not shared.
pub(crate) fn own(tensor: TchTensor) -> Tensor {
    match tensor.can_mut() && tensor.tensor.is_contiguous() {
        true => tensor.tensor,
        false => contiguous(tensor.tensor.copy()),
    }
}
