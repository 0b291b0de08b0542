//! The update of one parameter by AdamW.

use burn::tensor::Tensor;

/// The numbers of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay rates of the moments.
    pub betas: [f32; 2],
    /// Gradients are multiplied by this first.
    pub scale: f32,
    /// The parameter is multiplied by this: 1 − learning rate · weight decay.
    pub keep: f32,
    /// Learning rate over the bias correction of the first moment.
    pub rate: f32,
    /// Square root of the bias correction of the second moment.
    pub second_correction: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

/// New value and moments of one parameter (Loshchilov and Hutter 2019, arXiv:1711.05101), in place where nobody else
/// holds them. All without autodiff.
///
/// # Shapes
/// - all: `[count]`, `f32`
pub fn adamw(state: [Tensor<1>; 3], gradient: Tensor<1>, step: AdamWStep) -> [Tensor<1>; 3] {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_fused(&gradient) {
        return crate::fused::adamw(state, gradient, step);
    }
    plain_adamw(state, gradient, step)
}

/// [`adamw`] of many parameters, each its state and its gradient, all on one device. LibTorch on a GPU does them in one call.
///
/// # Shapes
/// As [`adamw`], each parameter with a count of its own.
pub fn adamw_all(parameters: Vec<([Tensor<1>; 3], Tensor<1>)>, step: AdamWStep) -> Vec<[Tensor<1>; 3]> {
    #[cfg(feature = "tch")]
    if let Some((_, gradient)) = parameters.first()
        && crate::device::is_fused(gradient)
        && crate::libtorch_gpu(&gradient.device()).is_some()
    {
        return crate::address::adamw_all(parameters, step);
    }
    parameters
        .into_iter()
        .map(|(state, gradient)| adamw(state, gradient, step))
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
    let value = value.mul_scalar(step.keep) - (first.clone() / root).mul_scalar(step.rate);
    [value, first, second]
}
