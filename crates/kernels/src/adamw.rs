//! Updates of parameters by AdamW.

use burn::tensor::Tensor;

use crate::AdamWStep;

/// New value and moments of one parameter (Loshchilov and Hutter 2019, arXiv:1711.05101), in place where they are not
/// shared. All without autodiff.
///
/// # Shapes
/// - all: `[count]`, `f32`
pub fn adamw(state: [Tensor<1>; 3], gradient: Tensor<1>, step: AdamWStep) -> [Tensor<1>; 3] {
    let mut updated = adamw_all(vec![(state, gradient)], step);
    updated.pop().unwrap_or_else(|| unreachable!("one was given"))
}

/// [`adamw`] of many parameters, each its state and its gradient, all on one device. LibTorch on a GPU does them in one call.
///
/// # Shapes
/// As [`adamw`]; counts may differ.
pub fn adamw_all(parameters: Vec<([Tensor<1>; 3], Tensor<1>)>, step: AdamWStep) -> Vec<[Tensor<1>; 3]> {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if let Some((_, gradient)) = parameters.first()
        && crate::device::is_fused(gradient)
    {
        return fused::adamw_all(parameters, step);
    }
    parameters
        .into_iter()
        .map(|(state, gradient)| plain_adamw(state, gradient, step))
        .collect()
}

/// [`adamw`] in plain tensor operations: the reference of the fast one.
///
/// # Shapes
/// As [`adamw`].
pub fn plain_adamw(
    [value, first, second]: [Tensor<1>; 3],
    gradient: Tensor<1>,
    step: AdamWStep,
) -> [Tensor<1>; 3] {
    let [beta1, beta2] = step.betas;
    let gradient = gradient.mul_scalar(step.scale);
    let first = first.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
    let second = second.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
    let root = second
        .clone()
        .sqrt()
        .div_scalar(step.second_correction)
        .add_scalar(step.epsilon);
    let value = value.mul_scalar(step.decay_factor) - (first.clone() / root).mul_scalar(step.step_size);
    [value, first, second]
}

/// Outside Burn's dispatch, which takes no lists of tensors.
#[cfg(any(feature = "flex", feature = "tch"))]
mod fused {
    #[cfg(feature = "flex")]
    use burn::backend::Flex;
    #[cfg(feature = "tch")]
    use burn::backend::LibTorch;
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{Backend, DispatchDevice, DispatchKindConversion, DispatchTensor};
    use burn::tensor::Tensor;

    use crate::AdamWStep;

    type Parameter = ([Tensor<1>; 3], Tensor<1>);
    /// Values, both moments and gradients → values and moments after the update.
    type Update<B> = fn(Vec<[FloatTensor<B>; 4]>, AdamWStep) -> Vec<[FloatTensor<B>; 3]>;

    pub fn adamw_all(parameters: Vec<Parameter>, step: AdamWStep) -> Vec<[Tensor<1>; 3]> {
        let device = parameters[0].1.device();
        match device.as_dispatch() {
            #[cfg(feature = "flex")]
            DispatchDevice::Flex(_) => on::<Flex>(parameters, step, crate::fused::on_host::adamw::<Flex>),
            #[cfg(feature = "tch")]
            DispatchDevice::LibTorch(_) => on::<LibTorch>(parameters, step, crate::tch::adamw),
            _ => unreachable!("parameters are updated without autodiff, where it is fused"),
        }
    }

    fn on<B: Backend>(parameters: Vec<Parameter>, step: AdamWStep, update: Update<B>) -> Vec<[Tensor<1>; 3]>
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        let primitive = |tensor: Tensor<1>| {
            let primitive = tensor.try_into_primitive::<B>();
            primitive.unwrap_or_else(|error| unreachable!("all on one device, without autodiff: {error:?}"))
        };
        let parameters = parameters
            .into_iter()
            .map(|([value, first, second], gradient)| [value, first, second, gradient].map(primitive));
        let updated = update(parameters.collect(), step).into_iter();
        updated
            .map(|state| state.map(Tensor::<1>::from_primitive::<B>))
            .collect()
    }
}
