//! Keys and values of the tokens that a model has seen, so that only new tokens are computed.
//!
//! Only the key/value heads are kept, in the model's precision: `2 · layers · kv_heads · head_dim` numbers a token.

use burn::tensor::Tensor;

/// The tokens of a batch of rows of one length. Shorter rows begin later, after padding that is never attended to.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(crate) layers: Vec<KeysAndValues>,
    /// Tokens in each row, padding included.
    pub(crate) length: usize,
    /// Where each row begins.
    pub(crate) starts: Vec<usize>,
}

impl Cache {
    /// An empty cache for `layers` layers and rows that begin at `starts`.
    pub fn new(layers: usize, starts: Vec<usize>) -> Self {
        Self {
            layers: vec![KeysAndValues::default(); layers],
            length: 0,
            starts,
        }
    }

    /// The same with an expected maximum of `tokens` a row, which bounds the memory reserved ahead.
    pub fn with_most(mut self, tokens: usize) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.most = Some(tokens));
        self
    }

    /// Positions of the next `seq` tokens of each row, counted from its start; 0 for padding.
    pub(crate) fn next_positions(&self, seq: usize) -> Vec<u32> {
        let next = self.length..self.length + seq;
        self.starts
            .iter()
            .flat_map(|start| next.clone().map(move |at| at.saturating_sub(*start) as u32))
            .collect()
    }
}

/// Those of one layer, in memory that grows by half.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeysAndValues {
    /// Keys and values, `[batch, kv_heads, capacity, head_dim]`.
    memory: Option<(Tensor<4>, Tensor<4>)>,
    length: usize,
    /// Tokens of a row at most, where that is known.
    most: Option<usize>,
}

impl KeysAndValues {
    /// Adds those of the next tokens; returns all, `[batch, kv_heads, length, head_dim]`.
    pub fn push(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, new, dim] = k.dims();
        let (before, length) = (self.length, self.length + new);
        let (keys, values) = match self.memory.take() {
            Some((keys, values)) if keys.dims()[2] >= length => (keys, values),
            smaller => {
                let roomy = (length + length / 2).next_multiple_of(64);
                let capacity = self.most.map_or(roomy, |most| roomy.min(most).max(length));
                let shape = [batch, heads, capacity, dim];
                let larger = |old: Option<Tensor<4>>| {
                    let memory = Tensor::<4>::zeros(shape, (&k.device(), k.dtype()));
                    match old {
                        None => memory,
                        Some(old) => {
                            let old = old.narrow(2, 0, before);
                            memory.slice_assign([0..batch, 0..heads, 0..before, 0..dim], old)
                        }
                    }
                };
                let (keys, values) = smaller.unzip();
                (larger(keys), larger(values))
            }
        };
        let place = [0..batch, 0..heads, before..length, 0..dim];
        let keys = keys.slice_assign(place.clone(), k);
        let values = values.slice_assign(place, v);
        let all = (
            keys.clone().narrow(2, 0, length),
            values.clone().narrow(2, 0, length),
        );
        self.memory = Some((keys, values));
        self.length = length;
        all
    }
}
