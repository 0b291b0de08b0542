//! Where the numbers of a tensor lie, for libraries that work on memory.

use burn::tensor::Tensor;

/// The same numbers in memory that no other tensor sees, and where the first lies on their device; `None` for a backend
/// that does not tell. They may be written to in place.
pub fn addressed(values: Tensor<1>) -> Option<(Tensor<1>, u64)> {
    #[cfg(feature = "tch")]
    {
        use burn::backend::libtorch::TchTensor;
        use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind};
        let DispatchTensor { kind, autodiff } = values.into_dispatch();
        let DispatchTensorKind::LibTorch(BackendTensor::Float(tensor)) = kind else {
            return None;
        };
        let own = crate::tch::own(tensor);
        let address = own.data_ptr() as u64;
        let kind = DispatchTensorKind::LibTorch(BackendTensor::Float(TchTensor::new(own)));
        Some((Tensor::from_dispatch(DispatchTensor { kind, autodiff }), address))
    }
    #[cfg(not(feature = "tch"))]
    {
        let _ = values;
        None
    }
}
