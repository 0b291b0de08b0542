//! A product with a weight, in the dtype of the activations. The same on every backend: Burn's product would leave the
//! weight's gradient transposed, to be copied later.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::DType;

use crate::dtype::cast;
use crate::tracked::Saved;

/// What the backward pass needs.
#[derive(Debug, Clone)]
pub(super) struct SavedLinear<B: Backend> {
    /// For the gradient of the weight, if wanted.
    x: Option<FloatTensor<B>>,
    /// For the gradient of `x`, if wanted; in the dtype of `x`.
    weight: Option<FloatTensor<B>>,
    /// Of `x` and of the parameter.
    dtypes: [DType; 2],
}

/// The product, and what the `wanted` gradients need.
pub(super) fn forward<B: Backend>(
    [x, weight]: [FloatTensor<B>; 2],
    [of_x, of_weight]: [bool; 2],
) -> (FloatTensor<B>, SavedLinear<B>) {
    let dtypes = [x.dtype(), weight.dtype()];
    let weight = cast::<B>(weight, x.dtype());
    let out = B::float_matmul(x.clone(), B::float_transpose(weight.clone()));
    let saved = SavedLinear {
        x: of_weight.then_some(x),
        weight: of_x.then_some(weight),
        dtypes,
    };
    (out, saved)
}

impl<B: Backend> Saved<B, 2> for SavedLinear<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 2] {
        let [x_dtype, weight_dtype] = self.dtypes;
        let grad = cast::<B>(grad, x_dtype);
        let dw = self.x.map(|x| {
            let dw = B::float_matmul(B::float_transpose(grad.clone()), x);
            cast::<B>(dw, weight_dtype)
        });
        let dx = self.weight.map(|weight| B::float_matmul(grad, weight));
        [dx, dw]
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn only_what_wanted_gradients_need_is_kept() {
        let tensor =
            || Flex::float_from_data(TensorData::from([[1f32, 2.0], [3.0, 4.0]]), &Default::default());
        for wanted in [[true, true], [true, false], [false, true], [false, false]] {
            let (_, saved) = forward::<Flex>([tensor(), tensor()], wanted);
            assert_eq!([saved.weight.is_some(), saved.x.is_some()], wanted);
            assert_eq!(saved.backward(tensor()).map(|found| found.is_some()), wanted);
        }
    }
}
