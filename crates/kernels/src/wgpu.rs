//! Devices of the backend `wgpu`: any GPU that Vulkan, Metal or DirectX 12 can reach.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use burn::tensor::{Device, DeviceKind};

use crate::device_error::DeviceError;

/// Valid device names.
const NAMES: &str = "discrete:N, integrated:N or cpu, or no device for the first choice of the system";

/// Opens `discrete:N`, `integrated:N` (the first of its kind without a number) or `cpu` (Vulkan in software); without a
/// name, the device that the system prefers.
///
/// # Errors
/// The name is invalid, or no such device can be opened.
pub(crate) fn open(name: Option<&str>) -> Result<Device, DeviceError> {
    let kind = kind(name).ok_or_else(|| DeviceError::Device {
        backend: "wgpu".to_owned(),
        device: name.unwrap_or_default().to_owned(),
        expected: NAMES,
    })?;
    // A kind can be initialised only once, and operations on one that failed to open panic.
    static OPENED: LazyLock<Mutex<HashMap<DeviceKind, Device>>> = LazyLock::new(Mutex::default);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = opened.get(&kind) {
        return Ok(device.clone());
    }
    let device = Device::wgpu_options()
        .device_kind(kind.clone())
        .init()
        .map_err(|error| DeviceError::Unavailable {
            backend: "wgpu".to_owned(),
            reason: error.to_string(),
        })?;
    opened.insert(kind, device.clone());
    Ok(device)
}

fn kind(name: Option<&str>) -> Option<DeviceKind> {
    let Some(name) = name else {
        return Some(DeviceKind::DefaultDevice);
    };
    let (kind, number) = match name.split_once(':') {
        Some((kind, number)) => (kind, Some(number.parse().ok()?)),
        None => (name, None),
    };
    match (kind, number) {
        ("discrete", number) => Some(DeviceKind::DiscreteGpu(number.unwrap_or(0))),
        ("integrated", number) => Some(DeviceKind::IntegratedGpu(number.unwrap_or(0))),
        ("cpu", None) => Some(DeviceKind::Cpu),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_name() {
        let kinds = [
            (None, Some(DeviceKind::DefaultDevice)),
            (Some("discrete"), Some(DeviceKind::DiscreteGpu(0))),
            (Some("discrete:2"), Some(DeviceKind::DiscreteGpu(2))),
            (Some("integrated:1"), Some(DeviceKind::IntegratedGpu(1))),
            (Some("cpu"), Some(DeviceKind::Cpu)),
            (Some("cpu:0"), None),
            (Some("discrete:x"), None),
            (Some("cuda"), None),
        ];
        for (name, expected) in kinds {
            assert_eq!(kind(name), expected, "{name:?}");
        }
        let error = open(Some("cuda:1")).unwrap_err().to_string();
        assert!(error.contains("cuda:1") && error.contains("discrete"), "{error}");
        let error = open(Some("discrete:99")).unwrap_err().to_string();
        assert!(error.contains("wgpu") && error.contains("device"), "{error}");
    }
}
