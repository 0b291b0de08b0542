//! One transformer block and its parts.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use smollm3_kernels::{rms_norm, swiglu};
use smollm3_recipe::ModelConfig;

use crate::{Attention, Linear, ParameterError, Parameters, RowContext};

/// Root-mean-square normalisation with a weight.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[hidden]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    /// The norm whose weight is called `{name}.weight`.
    ///
    /// # Errors
    /// The tensor is missing or has another shape.
    pub fn new(
        source: &impl Parameters,
        name: &str,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let weight = source.param(&format!("{name}.weight"), [config.hidden_size], device)?;
        Ok(Self {
            weight,
            epsilon: config.rms_norm_eps,
        })
    }

    /// In `dtype`.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, dtype: DType) -> Tensor<3> {
        rms_norm(x, self.weight.val(), self.epsilon, dtype)
    }
}

/// The feed-forward part: `down(silu(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub gate_proj: Linear,
    /// `[intermediate, hidden]`.
    pub up_proj: Linear,
    /// `[hidden, intermediate]`.
    pub down_proj: Linear,
}

impl Mlp {
    /// The feed-forward part whose tensors begin with `{name}.`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(
        source: &impl Parameters,
        name: &str,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |part: &str, shape: [usize; 2]| {
            Linear::new(source, &format!("{name}.{part}"), shape, config.mlp_bias, device)
        };
        Ok(Self {
            gate_proj: linear("gate_proj", [inner, hidden])?,
            up_proj: linear("up_proj", [inner, hidden])?,
            down_proj: linear("down_proj", [hidden, inner])?,
        })
    }

    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = self.gate_proj.forward(x.clone());
        self.down_proj.forward(swiglu(gate, self.up_proj.forward(x)))
    }
}

/// A pre-norm block: `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Attention.
    pub self_attn: Attention,
    /// Feed-forward.
    pub mlp: Mlp,
    /// Before attention.
    pub input_layernorm: RmsNorm,
    /// Before the feed-forward part.
    pub post_attention_layernorm: RmsNorm,
}

impl Block {
    /// Block `layer` of the model.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(
        source: &impl Parameters,
        layer: usize,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        Ok(Self {
            self_attn: Attention::new(source, &name("self_attn"), layer, config, device)?,
            mlp: Mlp::new(source, &name("mlp"), config, device)?,
            input_layernorm: RmsNorm::new(source, &name("input_layernorm"), config, device)?,
            post_attention_layernorm: RmsNorm::new(
                source,
                &name("post_attention_layernorm"),
                config,
                device,
            )?,
        })
    }

    /// The residual stream keeps the dtype of `x`; what is added to it is computed in the model's precision.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, rows: &RowContext<'_>) -> Tensor<3> {
        self.around(x, rows.precision, |normed| self.self_attn.forward(normed, rows))
    }

    /// [`Self::forward`] around another attention.
    pub(crate) fn around(
        &self,
        x: Tensor<3>,
        precision: DType,
        attention: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let sum = x.dtype();
        let normed = self.input_layernorm.forward(x.clone(), precision);
        let x = x + attention(normed).cast(sum);
        let normed = self.post_attention_layernorm.forward(x.clone(), precision);
        x + self.mlp.forward(normed).cast(sum)
    }
}
