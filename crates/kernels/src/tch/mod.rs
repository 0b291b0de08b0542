//! LibTorch under the fused operations: on the CPU its tensors as slices ([`cpu`]), on a GPU its own operations ([`gpu`]).

mod cpu;
mod deterministic;
mod gpu;
mod shim;
mod tensor;
mod upload;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::DType;
use tch::Device;

use crate::fused::{Kernels, on_host};
use crate::host_targets::HostTargets;
use crate::tracked::Saved;
use crate::{AdamWStep, Documents};
pub(crate) use shim::{begin_profile, device_memory, end_profile};
pub(crate) use tensor::own;
pub(crate) use upload::{DeviceCopy, upload};

/// Whether flash attention runs on the GPU with this index. Tried once.
pub(crate) fn has_flash_attention(gpu: usize) -> bool {
    static TRIED: Mutex<BTreeMap<usize, bool>> = Mutex::new(BTreeMap::new());
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    *tried
        .entry(gpu)
        .or_insert_with(|| shim::has_flash_attention(Device::Cuda(gpu)))
}

/// What an operation keeps, by device.
#[derive(Debug, Clone)]
enum SavedOn<H, G> {
    Host(H),
    Gpu(G),
}

impl<H: Saved<LibTorch, N>, G: Saved<LibTorch, N>, const N: usize> Saved<LibTorch, N> for SavedOn<H, G> {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; N] {
        match self {
            Self::Host(saved) => saved.backward(grad),
            Self::Gpu(saved) => saved.backward(grad),
        }
    }
}

/// Operations with a separate kernel on a GPU: the function of this name in [`on_host`] or [`gpu`], by the first input's
/// device.
macro_rules! by_device {
    ($($name:ident<$inputs:literal>($($argument:ident: $type:ty),*);)+) => {
        $(
            fn $name(
                inputs: [TchTensor; $inputs],
                $($argument: $type,)*
                wanted: [bool; $inputs],
            ) -> (TchTensor, impl Saved<Self, $inputs>) {
                match inputs[0].tensor.device() {
                    Device::Cpu => {
                        let (out, saved) = on_host::$name::<Self>(inputs, $($argument,)* wanted);
                        (out, SavedOn::Host(saved))
                    }
                    _ => {
                        let (out, saved) = gpu::$name(inputs, $($argument,)* wanted);
                        (out, SavedOn::Gpu(saved))
                    }
                }
            }
        )+
    };
}

impl Kernels for LibTorch {
    by_device! {
        attention<3>(documents: Documents);
        loss<2>(targets: Arc<HostTargets>);
        rms_norm<2>(epsilon: f64, dtype: DType);
        swiglu<2>();
        rotary<1>(cos: TchTensor, sin: TchTensor);
    }
}

/// New values and moments of parameters `[value, first moment, second moment, gradient]`, all on one device.
pub(crate) fn adamw(parameters: Vec<[TchTensor; 4]>, step: AdamWStep) -> Vec<[TchTensor; 3]> {
    match parameters.first().map(|[value, ..]| value.tensor.device()) {
        None | Some(Device::Cpu) => on_host::adamw::<LibTorch>(parameters, step),
        Some(_) => gpu::adamw(parameters, step),
    }
}
