//! Tensors of the backend `flex` as slices, for the operations on the host.

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;

use crate::fused::Kernels;
use crate::host::matmul::{Cores, Matrix, matmul};
use crate::host::{Element, HostBackend, Threads, View};

impl Kernels for Flex {}

impl HostBackend for Flex {
    const THREADS: Threads = Threads::Rayon;

    fn empty(shape: Shape, dtype: DType) -> FlexTensor {
        match dtype {
            DType::F32 => Self::zeros(shape),
            _ => FlexTensor::empty(shape, dtype),
        }
    }

    /// `FlexTensor::zeros` copies them once more to align them.
    fn zeros(shape: Shape) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(vec![0f32; shape.num_elements()], shape))
    }

    fn contiguous(tensor: FlexTensor) -> FlexTensor {
        tensor.to_contiguous()
    }

    fn inner_dense(tensor: FlexTensor) -> FlexTensor {
        let strides = tensor.layout().strides();
        let usable = strides.last() == Some(&1) && strides.iter().all(|stride| *stride >= 0);
        if usable { tensor } else { tensor.to_contiguous() }
    }

    fn slice<E: Element>(tensor: &FlexTensor) -> &[E] {
        let start = tensor.layout().start_offset();
        &tensor.storage()[start..start + tensor.layout().num_elements()]
    }

    fn slice_mut<E: Element>(tensor: &mut FlexTensor) -> &mut [E] {
        let start = tensor.layout().start_offset();
        let end = start + tensor.layout().num_elements();
        &mut tensor.storage_mut()[start..end]
    }

    fn view<E: Element>(tensor: &FlexTensor) -> View<'_, E> {
        let strides = tensor.layout().strides();
        View {
            data: &tensor.storage()[tensor.layout().start_offset()..],
            strides: [strides[0] as usize, strides[1] as usize, strides[2] as usize],
        }
    }

    fn product(left: FlexTensor, right: FlexTensor, reuse: Option<FlexTensor>) -> FlexTensor {
        let shape = [left.shape()[0], right.shape()[1]];
        let fitting = reuse.filter(|tensor| tensor.shape().dims::<2>() == shape);
        let to = fitting.unwrap_or_else(|| Self::zeros(shape.into()));
        multiply(to, &left, &right, false)
    }

    fn add_product(sum: FlexTensor, left: FlexTensor, right: FlexTensor) -> FlexTensor {
        multiply(sum, &left, &right, true)
    }
}

/// `to = left · right`, or `to += …`.
fn multiply(mut to: FlexTensor, left: &FlexTensor, right: &FlexTensor, add: bool) -> FlexTensor {
    let ([m, k], [_, n]) = (left.shape().dims(), right.shape().dims());
    let slice = Flex::slice_mut(&mut to);
    matmul(slice, [m, n, k], matrix(left), matrix(right), add, Cores::All);
    to
}

fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let layout = tensor.layout();
    Matrix {
        data: &tensor.storage()[layout.start_offset()..],
        strides: [0, 1].map(|axis| layout.strides()[axis] as usize),
    }
}
