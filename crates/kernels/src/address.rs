//! The tensors of LibTorch under Burn's, for calls that Burn's dispatch has no form for.

#[cfg(feature = "tch")]
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;

/// The same numbers in memory that no other tensor sees, and where the first lies on their device; `None` for a backend
/// that does not tell. They may be written to in place.
pub fn addressed(values: Tensor<1>) -> Option<(Tensor<1>, u64)> {
    #[cfg(feature = "tch")]
    {
        let (tensor, wrap) = unwrapped(values)?;
        let own = crate::tch::own(tensor);
        let address = own.data_ptr() as u64;
        Some((wrap(TchTensor::new(own)), address))
    }
    #[cfg(not(feature = "tch"))]
    {
        let _ = values;
        None
    }
}

/// LibTorch's tensor under a float tensor without autodiff, and the way back; `None` of another backend.
#[cfg(feature = "tch")]
fn unwrapped(values: Tensor<1>) -> Option<(TchTensor, impl FnOnce(TchTensor) -> Tensor<1>)> {
    use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind};
    let DispatchTensor { kind, autodiff } = values.into_dispatch();
    let DispatchTensorKind::LibTorch(BackendTensor::Float(tensor)) = kind else {
        return None;
    };
    Some((tensor, move |tensor| {
        let kind = DispatchTensorKind::LibTorch(BackendTensor::Float(tensor));
        Tensor::from_dispatch(DispatchTensor { kind, autodiff })
    }))
}

/// [`crate::adamw_all`] of LibTorch's tensors.
#[cfg(feature = "tch")]
pub(crate) fn adamw_all(
    parameters: Vec<([Tensor<1>; 3], Tensor<1>)>,
    step: crate::AdamWStep,
) -> Vec<[Tensor<1>; 3]> {
    let mut back = Vec::with_capacity(parameters.len());
    let mut tensor = |values: Tensor<1>| {
        let (tensor, wrap) =
            unwrapped(values).unwrap_or_else(|| unreachable!("weights and moments are LibTorch's floats"));
        back.push(wrap);
        tensor
    };
    let parameters = parameters
        .into_iter()
        .map(|([value, first, second], gradient)| [value, first, second, gradient].map(&mut tensor))
        .collect();
    let mut back = back.into_iter();
    crate::tch::adamw_all(parameters, step)
        .into_iter()
        .map(|state| {
            let state = state.map(|tensor| {
                let wrap = back.next().unwrap_or_else(|| unreachable!("one for each"));
                wrap(tensor)
            });
            // The gradient's.
            back.next();
            state
        })
        .collect()
}
