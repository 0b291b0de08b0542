//! LibTorch's tensors in the CPU's memory as slices, for the operations on the host: loops on LibTorch's own threads, and
//! between them LibTorch's matrix products. Attention is one of those loops, in `f32` for every dtype: LibTorch's fused one
//! for the CPU takes more than twice the time (docs/decisions.md).

use burn::backend::libtorch::TchTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::{LibTorch, LibTorchDevice, TensorMetadata};
use burn::tensor::{DType, Shape};
use tch::{Device, Kind};

use crate::host::{Element, HostBackend, Threads, View};

impl HostBackend for LibTorch {
    const THREADS: Threads = Threads::LibTorch;

    fn empty(shape: Shape, dtype: DType) -> TchTensor {
        Self::float_empty(shape, &LibTorchDevice::Cpu, dtype.into())
    }

    fn zeros(shape: Shape) -> TchTensor {
        Self::float_zeros(shape, &LibTorchDevice::Cpu, DType::F32.into())
    }

    /// A tensor that is contiguous already keeps its owner count, by which Burn knows that it must not be written to.
    fn contiguous(tensor: TchTensor) -> TchTensor {
        match tensor.tensor.is_contiguous() {
            true => tensor,
            false => TchTensor::new(tensor.tensor.contiguous()),
        }
    }

    fn inner_dense(tensor: TchTensor) -> TchTensor {
        match tensor.tensor.stride().last() {
            Some(1) => tensor,
            _ => Self::contiguous(tensor),
        }
    }

    fn slice<E: Element>(tensor: &TchTensor) -> &[E] {
        check::<E>(tensor);
        assert!(tensor.tensor.is_contiguous());
        // SAFETY: just checked; the memory lives as long as the tensor. LibTorch aligns all of it.
        unsafe { std::slice::from_raw_parts(tensor.tensor.data_ptr().cast(), tensor.tensor.numel()) }
    }

    fn slice_mut<E: Element>(tensor: &mut TchTensor) -> &mut [E] {
        if !tensor.can_mut() {
            *tensor = TchTensor::new(tensor.tensor.copy());
        }
        check::<E>(tensor);
        assert!(tensor.tensor.is_contiguous());
        // SAFETY: as for `slice`, and no other tensor has this memory.
        unsafe { std::slice::from_raw_parts_mut(tensor.tensor.data_ptr().cast(), tensor.tensor.numel()) }
    }

    fn view<E: Element>(tensor: &TchTensor) -> View<'_, E> {
        check::<E>(tensor);
        let sizes = tensor.tensor.size();
        let strides: Vec<usize> = tensor
            .tensor
            .stride()
            .iter()
            .map(|stride| *stride as usize)
            .collect();
        assert!(strides.len() == 4 && strides[3] == 1);
        let reach = |(size, stride): (&i64, &usize)| (*size as usize).saturating_sub(1) * stride;
        let last: usize = sizes.iter().zip(&strides).map(reach).sum();
        // SAFETY: from the first to the last element that the strides reach; LibTorch has no negative strides.
        let data = unsafe { std::slice::from_raw_parts(tensor.tensor.data_ptr().cast(), last + 1) };
        View {
            data,
            strides: [strides[0], strides[1], strides[2]],
        }
    }

    fn product(left: TchTensor, right: TchTensor, reuse: Option<TchTensor>) -> TchTensor {
        // LibTorch allocates the result itself.
        drop(reuse);
        TchTensor::new(left.tensor.matmul(&right.tensor))
    }

    fn add_product(mut sum: TchTensor, left: TchTensor, right: TchTensor) -> TchTensor {
        let _ = match right.tensor.kind() {
            Kind::Float => sum.tensor.addmm_(&left.tensor, &right.tensor),
            _ => sum.tensor.g_add_(&left.tensor.matmul(&right.tensor)),
        };
        sum
    }
}

/// # Panics
/// The tensor is elsewhere or has another dtype: a mistake of the caller.
fn check<E: Element>(tensor: &TchTensor) {
    assert_eq!(
        (tensor.tensor.device(), tensor.dtype()),
        (Device::Cpu, E::dtype())
    );
}
