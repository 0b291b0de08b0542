//! Copies from the host to a device.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// A list of integers on `device`. To a GPU under LibTorch the copy is asynchronous.
///
/// # Shapes
/// - output: `[count]`
pub fn upload(values: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    #[cfg(feature = "tch")]
    if let Some(gpu) = crate::libtorch_gpu(device) {
        use burn::backend::libtorch::TchTensor;
        use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind};
        // This backend's integers have 64 bits.
        let wide: Vec<i64> = values.into_iter().map(i64::from).collect();
        let tensor = TchTensor::new(crate::tch::upload(&wide, tch::Device::Cuda(gpu)));
        let DispatchTensor { autodiff, .. } = Tensor::<1, Int>::empty([0], device).into_dispatch();
        let kind = DispatchTensorKind::LibTorch(BackendTensor::Int(tensor));
        return Tensor::from_dispatch(DispatchTensor { kind, autodiff });
    }
    crate::transfers::count_upload();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
