//! Copies from the host to a device.
//!
//! A copy from pageable memory waits for all earlier work of the device. Numbers for a GPU therefore go through pinned memory,
//! from which the device copies asynchronously. LibTorch keeps that memory alive until then.

use std::sync::{Mutex, PoisonError};

use tch::kind::Element;
use tch::{Device, Tensor};

use crate::transfers;

/// A copy of `values` on `device`, `[count]`.
pub(crate) fn upload<T: Element>(values: &[T], device: Device) -> Tensor {
    transfers::count_upload();
    let tensor = Tensor::from_slice(values);
    match device {
        // Without pinned memory the copy is slower, but correct.
        Device::Cuda(_) => match tensor.f_pin_memory(device) {
            Ok(pinned) => pinned.to_device_(device, T::KIND, true, false),
            Err(_) => tensor.to_device(device),
        },
        _ => tensor.to_device(device),
    }
}

/// A tensor uploaded once and shared by all its readers.
#[derive(Debug, Default)]
pub(crate) struct DeviceCopy(Mutex<Option<Tensor>>);

/// A copy does not change what its owner is.
impl PartialEq for DeviceCopy {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for DeviceCopy {}

impl DeviceCopy {
    /// The copy on `device`, made by `make` if there is none yet. Read-only.
    pub fn on(&self, device: Device, make: impl FnOnce() -> Tensor) -> Tensor {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(tensor) if tensor.device() == device => tensor.shallow_clone(),
            _ => kept.insert(make()).shallow_clone(),
        }
    }
}
