//! Conversions between number types.

use burn::backend::tensor::{Device, FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_device_settings};
use burn::tensor::{DType, Shape, TensorData};

/// The type in which softmax, log-sum-exp and other sums over inputs of type `dtype` are computed: `f32`, or `f64`
/// where the inputs are.
pub(crate) fn accumulator(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// The values as `dtype`; the tensor itself if they already are.
pub(crate) fn cast<B: Backend>(tensor: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    match tensor.dtype() == dtype {
        true => tensor,
        false => B::float_cast(tensor, dtype.into()),
    }
}

/// Integers in the device's index type.
pub(crate) fn ints<B: Backend>(
    values: Vec<i32>,
    shape: impl Into<Shape>,
    device: &Device<B>,
) -> IntTensor<B> {
    let dtype = get_device_settings::<B>(device).int_dtype;
    B::int_from_data(TensorData::new(values, shape).convert_dtype(dtype.into()), device)
}
