//! Numbers between the host and a device, and how often they travel: each read waits for all that the device has been given,
//! and each write of ordinary memory does, too.

use std::cell::Cell;

use burn::tensor::{Device, Int, Tensor, TensorData};

/// How often the calling thread has moved numbers by [`upload`] and [`read_back`], or by a fused operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// From the host to a device.
    pub uploads: u64,
    /// From a device to the host.
    pub read_backs: u64,
}

thread_local! {
    static TRANSFERS: Cell<Transfers> = const { Cell::new(Transfers { uploads: 0, read_backs: 0 }) };
}

impl Transfers {
    /// Those of this thread so far.
    pub fn so_far() -> Self {
        TRANSFERS.get()
    }
}

pub(crate) fn count_upload() {
    let so_far = TRANSFERS.get();
    TRANSFERS.set(Transfers {
        uploads: so_far.uploads + 1,
        ..so_far
    });
}

/// A list of integers on `device`; a GPU of LibTorch's fetches it while the host goes on.
///
/// # Shapes
/// - output: `[count]`
pub fn upload(values: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    #[cfg(feature = "tch")]
    if let Some(gpu) = crate::libtorch_gpu(device) {
        use burn::backend::libtorch::TchTensor;
        use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind};
        // Integers of this backend are wide.
        let wide: Vec<i64> = values.into_iter().map(i64::from).collect();
        let tensor = TchTensor::new(crate::tch::upload(&wide, tch::Device::Cuda(gpu)));
        let DispatchTensor { autodiff, .. } = Tensor::<1, Int>::empty([0], device).into_dispatch();
        let kind = DispatchTensorKind::LibTorch(BackendTensor::Int(tensor));
        return Tensor::from_dispatch(DispatchTensor { kind, autodiff });
    }
    count_upload();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Single-precision numbers in the host's memory. Waits for the device.
pub fn read_back(values: Tensor<1>) -> Vec<f32> {
    let so_far = TRANSFERS.get();
    TRANSFERS.set(Transfers {
        read_backs: so_far.read_backs + 1,
        ..so_far
    });
    values.into_data().iter().collect()
}
