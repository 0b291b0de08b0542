//! Grouped-query attention with or without RoPE.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use smollm3_kernels::{CacheView, cached_attention, document_attention, rotary};
use smollm3_recipe::ModelConfig;

use crate::cache::KeysAndValues;
use crate::{Linear, ParameterError, Parameters, RowContext};

/// Projections of one attention layer.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[heads · head_dim, hidden]`.
    pub q_proj: Linear,
    /// `[kv_heads · head_dim, hidden]`.
    pub k_proj: Linear,
    /// `[kv_heads · head_dim, hidden]`.
    pub v_proj: Linear,
    /// `[hidden, heads · head_dim]`.
    pub o_proj: Linear,
    head_dim: usize,
    rope: bool,
}

impl Attention {
    /// The attention of layer `layer`, whose tensors begin with `{name}.`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(
        source: &impl Parameters,
        name: &str,
        layer: usize,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let linear = |part: &str, shape: [usize; 2]| {
            Linear::new(
                source,
                &format!("{name}.{part}"),
                shape,
                config.attention_bias,
                device,
            )
        };
        let query = config.num_attention_heads * config.head_dim;
        let key_value = config.num_key_value_heads * config.head_dim;
        Ok(Self {
            q_proj: linear("q_proj", [query, config.hidden_size])?,
            k_proj: linear("k_proj", [key_value, config.hidden_size])?,
            v_proj: linear("v_proj", [key_value, config.hidden_size])?,
            o_proj: linear("o_proj", [config.hidden_size, query])?,
            head_dim: config.head_dim,
            rope: config.rope_layers[layer],
        })
    }

    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, rows: &RowContext<'_>) -> Tensor<3> {
        let (q, k, v) = self.heads(x, &rows.angles);
        self.mixed(document_attention(q, k, v, rows.documents))
    }

    /// [`Self::forward`] of the tokens that follow those in `kept`, which gets theirs.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub(crate) fn extend(
        &self,
        x: Tensor<3>,
        angles: &(Tensor<4>, Tensor<4>),
        kept: &mut KeysAndValues,
        view: &CacheView,
    ) -> Tensor<3> {
        let (q, k, v) = self.heads(x, angles);
        let (k, v) = kept.push(k, v);
        self.mixed(cached_attention(q, k, v, view))
    }

    /// Queries, keys and values, `[batch, heads or kv_heads, seq, head_dim]`, rotated where this layer uses RoPE.
    fn heads(&self, x: Tensor<3>, angles: &(Tensor<4>, Tensor<4>)) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let [batch, seq, _] = x.dims();
        let heads = |y: Tensor<3>| {
            let count = y.dims()[2] / self.head_dim;
            y.reshape([batch, seq, count, self.head_dim]).swap_dims(1, 2) // [batch, heads, seq, head_dim]
        };
        let q = heads(self.q_proj.forward(x.clone()));
        let k = heads(self.k_proj.forward(x.clone()));
        let v = heads(self.v_proj.forward(x));
        let rotated = |x: Tensor<4>| {
            let (cos, sin) = angles.clone();
            if self.rope { rotary(x, cos, sin) } else { x }
        };
        (rotated(q), rotated(k), v)
    }

    fn mixed(&self, values: Tensor<4>) -> Tensor<3> {
        let [batch, heads, seq, head_dim] = values.dims();
        self.o_proj
            .forward(values.swap_dims(1, 2).reshape([batch, seq, heads * head_dim]))
    }
}
