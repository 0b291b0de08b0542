//! Numbers of the host on their way to a device.
//!
//! A copy from ordinary memory waits until the device has done everything before it. So numbers for a GPU are first put into
//! pinned memory, from which the device fetches them when it comes to it, while the host goes on. LibTorch keeps that memory
//! until then.

use std::sync::{Mutex, PoisonError};

use tch::kind::Element;
use tch::{Device, Tensor};

use crate::transfers;

/// A copy of `values` on `device`, `[count]`.
pub(crate) fn upload<T: Element>(values: &[T], device: Device) -> Tensor {
    transfers::count_upload();
    let tensor = Tensor::from_slice(values);
    match device {
        // Where memory cannot be pinned, the copy is only slower.
        Device::Cuda(_) => match tensor.f_pin_memory(device) {
            Ok(pinned) => pinned.to_device_(device, T::KIND, true, false),
            Err(_) => tensor.to_device(device),
        },
        _ => tensor.to_device(device),
    }
}

/// What has been copied to a device once, for all that read it there.
#[derive(Debug, Default)]
pub(crate) struct DeviceCopy(Mutex<Option<Tensor>>);

impl DeviceCopy {
    /// The copy on `device`, made by `make` where there is none yet. For reading only.
    pub fn on(&self, device: Device, make: impl FnOnce() -> Tensor) -> Tensor {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(tensor) if tensor.device() == device => tensor.shallow_clone(),
            _ => kept.insert(make()).shallow_clone(),
        }
    }
}
