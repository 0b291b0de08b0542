//! The whole model: embedding, blocks, final norm, head.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use smollm3_kernels::{CacheView, Documents, linear};
use smollm3_recipe::ModelConfig;

use crate::cache::Cache;
use crate::{Block, Embedding, Linear, ParameterError, Parameters, RmsNorm, Rope, RowContext};

/// Everything but the head; `model.` in a checkpoint.
#[derive(Module, Debug)]
pub struct Backbone {
    /// Token embedding.
    pub embed_tokens: Embedding,
    /// The blocks.
    pub layers: Vec<Block>,
    /// Final norm.
    pub norm: RmsNorm,
}

/// A SmolLM3 (or Llama-family) language model.
#[derive(Module, Debug)]
pub struct SmolLm3 {
    /// Embedding, blocks and final norm.
    pub model: Backbone,
    /// The head, absent when it is the token embedding.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    rope: Rope,
    #[module(skip)]
    precision: DType,
}

impl SmolLm3 {
    /// The model of `config` with values from `source` on `device` (a device with autodiff for training).
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(
        config: &ModelConfig,
        source: &impl Parameters,
        device: &Device,
    ) -> Result<Self, ParameterError> {
        let table = [config.vocab_size, config.hidden_size];
        Ok(Self {
            model: Backbone {
                embed_tokens: Embedding::new(source, "model.embed_tokens", table, device)?,
                layers: (0..config.num_hidden_layers)
                    .map(|layer| Block::new(source, layer, config, device))
                    .collect::<Result<_, _>>()?,
                norm: RmsNorm::new(source, "model.norm", config, device)?,
            },
            lm_head: match config.tie_word_embeddings {
                true => None,
                false => Some(Linear::new(source, "lm_head", table, false, device)?),
            },
            rope: Rope::new(config, config.max_position_embeddings, device),
            precision: DType::F32,
        })
    }

    /// The same model with its matrix products in `precision`; parameters, sums and norms stay as they are.
    pub fn with_precision(self, precision: DType) -> Self {
        Self { precision, ..self }
    }

    /// The longest row the model can be given.
    pub fn max_positions(&self) -> usize {
        self.rope.length()
    }

    /// The head's matrix, `[vocab_size, hidden]`.
    pub fn head(&self) -> Tensor<2> {
        self.lm_head
            .as_ref()
            .map_or_else(|| self.model.embed_tokens.weight.val(), |head| head.weight.val())
    }

    /// Hidden states after the final norm, in the model's precision.
    ///
    /// # Shapes
    /// - `ids`: `[batch, seq]`, `seq` at most [`Self::max_positions`]
    /// - output: `[batch, seq, hidden]`
    pub fn forward(&self, ids: Tensor<2, Int>, documents: &Documents) -> Tensor<3> {
        let rows = self.rows(documents);
        let x = (0..self.layers()).fold(self.embed(ids), |x, layer| self.layer(layer, x, &rows));
        self.finish(x)
    }

    /// [`Self::forward`] of tokens that follow those in `cache`, which gets theirs.
    ///
    /// # Shapes
    /// - `ids`: `[batch, seq]`; with what is in the cache at most [`Self::max_positions`]
    /// - output: `[batch, seq, hidden]`
    pub fn extend(&self, ids: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        let [batch, seq] = ids.dims();
        let mut positions = cache.next_positions(seq);
        // A row that has ended is computed with longer ones, but not read.
        let last = self.max_positions().saturating_sub(1) as u32;
        positions
            .iter_mut()
            .for_each(|position| *position = (*position).min(last));
        let angles = self.rope.at_positions(&positions, batch);
        cache.length += seq;
        let view = CacheView::new(&cache.starts, [seq, cache.length], &ids.device(), self.precision);
        let mut x = self.embed(ids);
        for (block, kept) in self.model.layers.iter().zip(&mut cache.layers) {
            x = block.around(x, self.precision, |normed| {
                block.self_attn.extend(normed, &angles, kept, &view)
            });
        }
        self.finish(x)
    }

    /// What all layers need to know about the rows of a batch.
    pub fn rows<'d>(&self, documents: &'d Documents) -> RowContext<'d> {
        RowContext {
            angles: self.rope.at(documents),
            documents,
            precision: self.precision,
        }
    }

    /// The first step of [`Self::forward`]: `[batch, seq]` to `[batch, seq, hidden]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        // The residual stream is kept in single precision.
        self.model.embed_tokens.forward(ids).cast(DType::F32)
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.model.layers.len()
    }

    /// Block `layer` of [`Self::forward`], `[batch, seq, hidden]` to the same.
    pub fn layer(&self, layer: usize, x: Tensor<3>, rows: &RowContext<'_>) -> Tensor<3> {
        self.model.layers[layer].forward(x, rows)
    }

    /// The last step of [`Self::forward`], `[batch, seq, hidden]` to the same.
    pub fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        self.model.norm.forward(x, self.precision)
    }

    /// Scores of every next token.
    ///
    /// # Shapes
    /// - `ids`: `[batch, seq]`
    /// - output: `[batch, seq, vocab_size]`
    pub fn logits(&self, ids: Tensor<2, Int>, documents: &Documents) -> Tensor<3> {
        let [batch, seq] = ids.dims();
        let hidden = self.forward(ids, documents);
        let width = hidden.dims()[2];
        let head = self.head();
        let vocab_size = head.dims()[0];
        linear(hidden.reshape([batch * seq, width]), head).reshape([batch, seq, vocab_size])
    }
}
