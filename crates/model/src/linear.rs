//! The two layers that hold matrices, with weights laid out as the checkpoint stores them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use smollm3_kernels::linear;

use crate::{Adapter, ParameterError, Parameters};

/// `y = x · weightᵀ + bias`, in the dtype of `x`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Trained instead of the weight, which is then frozen.
    pub adapter: Option<Adapter>,
}

impl Linear {
    /// The layer whose tensors are called `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(
        source: &impl Parameters,
        name: &str,
        [out, input]: [usize; 2],
        bias: bool,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let weight = source.param(&format!("{name}.weight"), [out, input], device)?;
        let bias = bias
            .then(|| source.param(&format!("{name}.bias"), [out], device))
            .transpose()?;
        Ok(Self {
            weight,
            bias,
            adapter: None,
        })
    }

    /// # Shapes
    /// - `x`: `[batch, seq, in]`
    /// - output: `[batch, seq, out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, input] = x.dims();
        let weight = self.weight.val();
        let out = weight.dims()[0];
        // One two-dimensional product: a batched one would copy the weight for every row.
        let x = x.reshape([batch * seq, input]);
        let y = match &self.adapter {
            None => linear(x, weight),
            Some(adapter) => linear(x.clone(), weight) + adapter.forward(x),
        };
        let y = match &self.bias {
            Some(bias) => {
                let bias = bias.val().cast(y.dtype());
                y + bias.unsqueeze()
            }
            None => y,
        };
        y.reshape([batch, seq, out])
    }
}

/// Rows of a table by token id.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocab_size, hidden_size]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// The table called `{name}.weight`.
    ///
    /// # Errors
    /// The tensor is missing or has another shape.
    pub fn new(
        source: &impl Parameters,
        name: &str,
        shape: [usize; 2],
        device: &Device,
    ) -> Result<Self, ParameterError> {
        Ok(Self {
            weight: source.param(&format!("{name}.weight"), shape, device)?,
        })
    }

    /// # Shapes
    /// - `ids`: `[batch, seq]`
    /// - output: `[batch, seq, hidden_size]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        burn::tensor::module::embedding(self.weight.val(), ids)
    }
}
