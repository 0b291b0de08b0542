//! The fused operations on LibTorch: on the CPU by loops over its memory ([`cpu`]), on a GPU by LibTorch's own operations
//! ([`gpu`]).

mod cpu;
mod deterministic;
mod gpu;
mod shim;
mod tensor;
mod upload;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::DType;
use tch::{Device, Kind};

use crate::fused::{Kernels, Saved};
use crate::loss::Wanted;
use crate::{AdamWStep, Documents};
pub(crate) use shim::{begin_profile, device_memory, end_profile};
pub(crate) use tensor::own;
pub(crate) use upload::{DeviceCopy, upload};

/// Whether flash attention runs on the GPU with this index. Tried once.
pub(crate) fn has_flash_attention(gpu: usize) -> bool {
    static FOUND: Mutex<BTreeMap<usize, bool>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    *found
        .entry(gpu)
        .or_insert_with(|| shim::has_flash_attention(Device::Cuda(gpu)))
}

/// What an operation keeps, where it was computed.
#[derive(Debug, Clone)]
pub(crate) enum Place<C, G> {
    Cpu(C),
    Gpu(G),
}

impl<C: Saved<LibTorch, N>, G: Saved<LibTorch, N>, const N: usize> Saved<LibTorch, N> for Place<C, G> {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; N] {
        match self {
            Self::Cpu(saved) => saved.backward(grad),
            Self::Gpu(saved) => saved.backward(grad),
        }
    }
}

/// Calls the function of this name of [`cpu`] or [`gpu`], by where the first argument is.
macro_rules! by_place {
    ($function:ident($first:ident $(, $argument:expr)*)) => {
        match $first.tensor.device() {
            Device::Cpu => {
                let (out, saved) = cpu::$function($first $(, $argument)*);
                (out, Place::Cpu(saved))
            }
            _ => {
                let (out, saved) = gpu::$function($first $(, $argument)*);
                (out, Place::Gpu(saved))
            }
        }
    };
}

impl Kernels for LibTorch {
    type Attention = Place<cpu::SavedAttention, gpu::SavedAttention>;
    type Loss = SavedLoss;
    type Norm = Place<cpu::SavedNorm, gpu::SavedNorm>;
    type Gate = Place<cpu::SavedGate, gpu::SavedGate>;
    type Rotary = Place<cpu::SavedRotary, gpu::SavedRotary>;

    fn attention_forward(
        q: TchTensor,
        k: TchTensor,
        v: TchTensor,
        documents: Documents,
    ) -> (TchTensor, Self::Attention) {
        by_place!(attention(q, k, v, documents))
    }

    fn cached_attention(q: TchTensor, k: TchTensor, v: TchTensor, starts: &[usize]) -> TchTensor {
        cpu::cached_attention(&q.tensor, &k.tensor, &v.tensor, starts)
    }

    fn loss_forward(
        hidden: TchTensor,
        weight: TchTensor,
        targets: &Wanted,
        wanted: [bool; 2],
    ) -> (TchTensor, SavedLoss) {
        match hidden.tensor.device() {
            Device::Cpu => cpu::loss(hidden, weight, targets, wanted),
            _ => gpu::loss(hidden, weight, targets, wanted),
        }
    }

    fn rms_norm_forward(
        x: TchTensor,
        weight: TchTensor,
        epsilon: f64,
        dtype: DType,
    ) -> (TchTensor, Self::Norm) {
        let kind = match dtype {
            DType::BF16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        by_place!(rms_norm(x, weight, epsilon, kind))
    }

    fn swiglu_forward(gate: TchTensor, up: TchTensor) -> (TchTensor, Self::Gate) {
        by_place!(swiglu(gate, up))
    }

    fn rotary_forward(x: TchTensor, cos: TchTensor, sin: TchTensor) -> (TchTensor, Self::Rotary) {
        by_place!(rotary(x, cos, sin))
    }

    fn adamw_update(
        value: TchTensor,
        first: TchTensor,
        second: TchTensor,
        gradient: TchTensor,
        step: AdamWStep,
    ) -> (TchTensor, TchTensor, TchTensor) {
        let update = |parameter| adamw_all(vec![parameter], step).pop();
        let [value, first, second] =
            update([value, first, second, gradient]).unwrap_or_else(|| unreachable!("one was given"));
        (value, first, second)
    }
}

/// New values and moments, of each parameter `[value, first moment, second moment, gradient]`, all on one device.
pub(crate) fn adamw_all(parameters: Vec<[TchTensor; 4]>, step: AdamWStep) -> Vec<[TchTensor; 3]> {
    match parameters.first().map(|[value, ..]| value.tensor.device()) {
        None | Some(Device::Cpu) => parameters
            .into_iter()
            .map(|parameter| cpu::adamw(parameter, step))
            .collect(),
        Some(_) => gpu::adamw(parameters, step),
    }
}

/// The summed loss is linear in its gradient, so that what it is multiplied by can come later.
#[derive(Debug, Clone)]
pub(crate) struct SavedLoss {
    hidden: Option<TchTensor>,
    weight: Option<TchTensor>,
}

impl Saved<LibTorch, 2> for SavedLoss {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 2] {
        let scaled = |tensor| match grad.tensor.device() {
            Device::Cpu => own(tensor).g_mul_scalar_(grad.tensor.double_value(&[0])),
            // Without waiting for its value.
            _ => own(tensor).g_mul_(&grad.tensor.narrow(0, 0, 1)),
        };
        [self.hidden, self.weight].map(|tensor| Some(TchTensor::new(scaled(tensor?))))
    }
}
