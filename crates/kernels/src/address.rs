//! Where the numbers of a tensor lie.

use burn::tensor::Tensor;

/// The same numbers in memory that no other tensor shares, and the address of the first on their device; `None` for a
/// backend that does not expose it. They may be written to in place.
pub fn addressed(values: Tensor<1>) -> Option<(Tensor<1>, u64)> {
    #[cfg(feature = "tch")]
    {
        use burn::backend::LibTorch;
        use burn::backend::libtorch::TchTensor;
        let own = crate::tch::own(values.try_into_primitive::<LibTorch>().ok()?);
        let address = own.data_ptr() as u64;
        let values = Tensor::<1>::from_primitive::<LibTorch>(TchTensor::new(own));
        Some((values, address))
    }
    #[cfg(not(feature = "tch"))]
    {
        let _ = values;
        None
    }
}
