//! The numbers of `flex` tensors as slices, and back.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// `[batch, heads, seq, head_dim]` with any strides, the last 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub data: &'a [f32],
    /// Strides of batch, head and position.
    pub strides: [usize; 3],
}

impl<'a> View<'a> {
    /// The matrix of one head from position `start` on, rows `strides[2]` apart.
    pub fn head(&self, batch: usize, head: usize, start: usize) -> &'a [f32] {
        &self.data[batch * self.strides[0] + head * self.strides[1] + start * self.strides[2]..]
    }

    /// Distance of two positions.
    pub fn row(&self) -> usize {
        self.strides[2]
    }
}

/// The tensor itself if its last axis is dense and no stride is negative, else a contiguous copy.
pub(super) fn inner_dense(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    let usable = strides.last() == Some(&1) && strides.iter().all(|stride| *stride >= 0);
    if usable { tensor } else { tensor.to_contiguous() }
}

pub(super) fn view(tensor: &FlexTensor) -> View<'_> {
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
