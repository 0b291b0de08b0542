//! Devices by the names of backends.

use burn::backend::DispatchDevice;
#[cfg(feature = "tch")]
use burn::backend::LibTorchDevice;
use burn::tensor::{DType, Device};

use crate::device_error::DeviceError;

/// Backends compiled into this binary.
pub fn compiled_backends() -> Vec<&'static str> {
    let all = [
        ("flex", cfg!(feature = "flex")),
        ("tch", cfg!(feature = "tch")),
        ("wgpu", cfg!(feature = "wgpu")),
    ];
    let compiled = all.into_iter().filter(|(_, compiled)| *compiled);
    compiled.map(|(name, _)| name).collect()
}

/// Whether `backend` computes in `bf16`: `flex` has `f32` only, and a GPU under `wgpu` may not have more.
pub fn computes_bf16(backend: &str) -> bool {
    !matches!(backend, "flex" | "wgpu")
}

/// A device of a backend by name: `flex` has `cpu`; `tch` has `cpu`, `cuda`, `cuda:1` and `mps`; `wgpu` has `discrete`,
/// `discrete:1`, `integrated` and `cpu`. Without a name, the backend's default: the CPU for `flex` and `tch`, the system's
/// choice for `wgpu`.
///
/// # Errors
/// The backend is unknown or not compiled in, or has no such device.
pub fn device(backend: &str, device: Option<&str>) -> Result<Device, DeviceError> {
    let compiled = compiled_backends();
    if !compiled.contains(&backend) {
        let (name, compiled) = (backend.to_owned(), compiled.join(", "));
        return Err(match backend {
            "flex" | "tch" | "wgpu" => DeviceError::NotCompiled { name, compiled },
            _ => DeviceError::Unknown { name, compiled },
        });
    }
    #[allow(unused_variables)]
    let index = device
        .and_then(|name| name.strip_prefix("cuda"))
        .and_then(|rest| match rest.strip_prefix(':') {
            Some(number) => number.parse::<usize>().ok(),
            None => rest.is_empty().then_some(0),
        });
    let wrong = |expected| {
        Err(DeviceError::Device {
            backend: backend.to_owned(),
            device: device.unwrap_or_default().to_owned(),
            expected,
        })
    };
    match (backend, device, index) {
        #[cfg(feature = "flex")]
        ("flex", None | Some("cpu"), _) => Ok(Device::flex()),
        #[cfg(feature = "tch")]
        ("tch", None | Some("cpu"), _) => Ok(Device::libtorch()),
        #[cfg(feature = "tch")]
        ("tch", Some("mps"), _) => Ok(Device::libtorch_mps()),
        #[cfg(feature = "tch")]
        ("tch", _, Some(index)) => Ok(Device::libtorch_cuda(index)),
        #[cfg(feature = "wgpu")]
        ("wgpu", name, _) => crate::wgpu::open(name),
        ("flex", ..) => wrong("cpu"),
        _ => wrong("cpu, cuda, cuda:N or mps"),
    }
}

/// The index of the GPU on which LibTorch's tensors on this device lie; `None` if on none.
pub fn libtorch_gpu(device: &Device) -> Option<usize> {
    #[cfg(feature = "tch")]
    if let DispatchDevice::LibTorch(LibTorchDevice::Cuda(index)) = device.clone().inner().as_dispatch() {
        return Some(*index);
    }
    let _ = device;
    None
}

/// Number of GPUs this process can use; `None` if the backend cannot count them.
pub fn visible_gpus(backend: &str) -> Option<usize> {
    match backend {
        #[cfg(feature = "tch")]
        "tch" => usize::try_from(tch::Cuda::device_count()).ok(),
        _ => None,
    }
}

/// Whether this is a device of the backend `wgpu`.
pub(crate) fn is_wgpu(device: &Device) -> bool {
    #[cfg(feature = "wgpu")]
    if let DispatchDevice::Cube(_) = device.clone().inner().as_dispatch() {
        return true;
    }
    let _ = device;
    false
}

/// Whether `SMOLLM3_PLAIN_KERNELS` requests the plain bodies of all operations, to tell whether a fault or a slowdown comes
/// from the fused ones. Read once.
pub(crate) fn are_plain_wanted() -> bool {
    static WANTED: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        std::env::var_os("SMOLLM3_PLAIN_KERNELS").is_some_and(|value| value == "1")
    });
    *WANTED
}

/// Whether the fused operations apply to this tensor.
#[cfg(any(feature = "flex", feature = "tch"))]
pub(crate) fn is_fused<const D: usize>(tensor: &burn::Tensor<D>) -> bool {
    is_fused_on(&tensor.device(), tensor.dtype())
}

/// Whether fused operations in `dtype` apply on this device and run in the host's memory.
pub(crate) fn is_on_host(device: &Device, dtype: DType) -> bool {
    is_fused_on(device, dtype) && libtorch_gpu(device).is_none()
}

/// `flex` in `f32`, LibTorch on the CPU and on CUDA in `f32` and `bf16`.
fn is_fused_on(device: &Device, dtype: DType) -> bool {
    if are_plain_wanted() {
        return false;
    }
    match device.clone().inner().as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => dtype == DType::F32,
        #[cfg(feature = "tch")]
        DispatchDevice::LibTorch(LibTorchDevice::Cpu | LibTorchDevice::Cuda(_)) => {
            matches!(dtype, DType::F32 | DType::BF16)
        }
        #[allow(unreachable_patterns)]
        _ => false,
    }
}

/// Whether fused attention applies to these queries: as [`is_fused`], but on CUDA only within the limits of flash attention:
/// `bf16`, `head_dim` a multiple of 8 up to 256, GPUs since Ampere.
#[cfg(any(feature = "flex", feature = "tch"))]
pub(crate) fn is_attention_fused(q: &burn::Tensor<4>) -> bool {
    #[cfg(feature = "tch")]
    if let Some(index) = libtorch_gpu(&q.device()) {
        let head_dim = q.dims()[3];
        return is_fused(q)
            && q.dtype() == DType::BF16
            && head_dim.is_multiple_of(8)
            && head_dim <= 256
            && crate::tch::has_flash_attention(index);
    }
    is_fused(q)
}
