//! The numbers of `flex` tensors as slices, and back.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

use crate::host::View;

/// The tensor itself if its last axis is dense and no stride is negative, else a contiguous copy.
pub(super) fn inner_dense(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    let usable = strides.last() == Some(&1) && strides.iter().all(|stride| *stride >= 0);
    if usable { tensor } else { tensor.to_contiguous() }
}

pub(super) fn view(tensor: &FlexTensor) -> View<'_, f32> {
    let strides = tensor.layout().strides();
    View {
        data: &tensor.storage::<f32>()[tensor.layout().start_offset()..],
        strides: [strides[0] as usize, strides[1] as usize, strides[2] as usize],
    }
}

/// The numbers of a contiguous tensor.
pub(super) fn slice(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    &tensor.storage::<f32>()[start..start + tensor.layout().num_elements()]
}

pub(super) fn dense(values: Vec<f32>, shape: Shape) -> FlexTensor {
    let bytes = Bytes::from_elems(values);
    FlexTensor::new(bytes, Layout::contiguous(shape), DType::F32)
}

/// The numbers of a contiguous tensor, copied first where others share them.
pub(super) fn slice_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let start = tensor.layout().start_offset();
    let end = start + tensor.layout().num_elements();
    &mut tensor.storage_mut::<f32>()[start..end]
}

pub(super) fn shape(tensor: &FlexTensor) -> Shape {
    tensor.layout().shape().clone()
}
