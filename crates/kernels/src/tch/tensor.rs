//! Who owns a LibTorch tensor, and its numbers in the CPU's memory as slices.

use std::any::TypeId;

use burn::backend::libtorch::TchTensor;
use half::bf16;
use tch::{Device, Kind, Tensor};

use crate::host::{Angles, Element, View};

pub(super) fn contiguous(tensor: Tensor) -> Tensor {
    match tensor.is_contiguous() {
        true => tensor,
        false => tensor.contiguous(),
    }
}

/// A contiguous tensor. Where it is one already, it keeps its count of owners, by which Burn knows that it must not be
/// written to.
pub(super) fn dense(tensor: TchTensor) -> TchTensor {
    match tensor.tensor.is_contiguous() {
        true => tensor,
        false => TchTensor::new(tensor.tensor.contiguous()),
    }
}

/// A contiguous tensor that nobody else sees.
pub(crate) fn own(tensor: TchTensor) -> Tensor {
    match tensor.can_mut() && tensor.tensor.is_contiguous() {
        true => tensor.tensor,
        false => contiguous(tensor.tensor.copy()),
    }
}

/// # Panics
/// The tensor is elsewhere or of another dtype: a mistake of the caller.
fn check<E: Element>(tensor: &Tensor) {
    let kind = match TypeId::of::<E>() == TypeId::of::<bf16>() {
        true => Kind::BFloat16,
        false => Kind::Float,
    };
    assert_eq!((tensor.device(), tensor.kind()), (Device::Cpu, kind));
}

/// The numbers of a contiguous tensor.
pub(super) fn slice<E: Element>(tensor: &Tensor) -> &[E] {
    check::<E>(tensor);
    assert!(tensor.is_contiguous());
    // SAFETY: just checked; the memory lives as long as the tensor. LibTorch aligns all of it.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The numbers of a contiguous tensor, which nobody else must be reading.
pub(super) fn slice_mut<E: Element>(tensor: &mut Tensor) -> &mut [E] {
    check::<E>(tensor);
    assert!(tensor.is_contiguous());
    // SAFETY: as for `slice`; callers write only into what they just made or own alone.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

/// A tensor `[batch, heads, seq, head_dim]` whose last axis is dense.
pub(super) fn view<E: Element>(tensor: &Tensor) -> View<'_, E> {
    check::<E>(tensor);
    let (size, strides) = (tensor.size(), tensor.stride());
    let steps: Vec<usize> = strides.iter().map(|stride| *stride as usize).collect();
    assert!(strides.len() == 4 && strides[3] == 1);
    let last: usize = size
        .iter()
        .zip(&steps)
        .map(|(size, step)| (*size as usize).saturating_sub(1) * step)
        .sum();
    // SAFETY: from the first to the last element that the strides reach; LibTorch knows no negative strides.
    let data = unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), last + 1) };
    View {
        data,
        strides: [steps[0], steps[1], steps[2]],
    }
}

/// Contiguous cosines and sines `[batch or 1, 1, seq, half]`.
pub(super) fn angles<'a>(cos: &'a Tensor, sin: &'a Tensor) -> Angles<'a> {
    Angles {
        cos: slice(cos),
        sin: slice(sin),
        shared: cos.size()[0] == 1,
    }
}
