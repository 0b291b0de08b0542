//! Attention without a score matrix, after flash attention (Dao 2023, arXiv:2307.08691): for each block of queries a
//! running maximum and sum over the blocks of keys that they see. The backward pass computes each block's
//! probabilities again from the saved log-sum-exp. Extra memory: one block of scores.

use std::ops::Range;

use burn::backend::tensor::{BoolTensor, Device, FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_device_settings};
use burn::tensor::{BoolDType, DType, Shape, Slice};

use super::pairs::{Blocks, KeyBlock};
use crate::Documents;
use crate::dtype::{accumulator, cast, ints};
use crate::tracked::Saved;

/// Replaces a masked score; its exponential is 0. Not −∞, because −∞ − (−∞) is NaN.
const MASKED: f64 = -1e30;

/// The inputs and their properties; queries are already scaled.
struct Inputs<B: Backend> {
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    blocks: Blocks,
    masks: Masks<B>,
    batch: usize,
    heads: usize,
    kv_heads: usize,
    dtype: DType,
    /// Of scores and sums.
    wide: DType,
    scale: f64,
}

impl<B: Backend> Inputs<B> {
    fn new(
        q: FloatTensor<B>,
        k: FloatTensor<B>,
        v: FloatTensor<B>,
        documents: &Documents,
        block: usize,
    ) -> Self {
        let [batch, heads, _, dim] = q.shape().dims();
        let [_, kv_heads, _, _] = k.shape().dims();
        let (dtype, scale) = (q.dtype(), (dim as f64).powf(-0.5));
        Self {
            masks: Masks::new(documents, &q.device()),
            q: B::float_mul_scalar(q, scale.into()),
            k,
            v,
            blocks: Blocks::new(documents, block),
            batch,
            heads,
            kv_heads,
            dtype,
            wide: accumulator(dtype),
            scale,
        }
    }

    /// Query heads that share a key head as rows of one matrix: `[batch, heads, n, m]` → `[batch, kv_heads, group·n, m]`.
    fn folded(&self, tensor: FloatTensor<B>) -> FloatTensor<B> {
        let [_, _, n, m] = tensor.shape().dims();
        let rows = self.heads / self.kv_heads * n;
        B::float_reshape(tensor, Shape::from([self.batch, self.kv_heads, rows, m]))
    }

    /// The inverse of [`Self::folded`], in the type of sums.
    fn unfolded(&self, tensor: FloatTensor<B>) -> FloatTensor<B> {
        let [_, _, rows, m] = tensor.shape().dims();
        let n = rows * self.kv_heads / self.heads;
        let tensor = B::float_reshape(tensor, Shape::from([self.batch, self.heads, n, m]));
        cast::<B>(tensor, self.wide)
    }

    /// `[batch, heads, queries, keys]` of folded queries.
    fn scores(
        &self,
        q: &FloatTensor<B>,
        k: &FloatTensor<B>,
        queries: &Range<usize>,
        block: &KeyBlock,
    ) -> FloatTensor<B> {
        let scores = self.unfolded(B::float_matmul(q.clone(), B::float_transpose(k.clone())));
        if !block.masked {
            return scores;
        }
        let shape = Shape::from([self.batch, self.heads, queries.len(), block.keys.len()]);
        let mask = B::bool_expand(self.masks.of(queries, &block.keys), shape);
        B::float_mask_fill(scores, mask, MASKED.into())
    }

    /// The weighted sum of values of one block of queries, and the log-sum-exp of their scores.
    fn forward(&self, index: usize) -> (FloatTensor<B>, FloatTensor<B>) {
        let queries = self.blocks.tokens(index);
        let q = self.folded(tokens::<B>(&self.q, &queries));
        let own = self.seen(&q, &queries, &self.blocks.own(index), None);
        let Running { largest, sum, values } = self
            .blocks
            .earlier(index)
            .fold(own, |before, block| self.seen(&q, &queries, &block, Some(before)));
        let out = cast::<B>(B::float_div(values, sum.clone()), self.dtype);
        (out, B::float_add(largest, B::float_log(sum)))
    }

    /// The state of a block of folded queries after these keys.
    fn seen(
        &self,
        q: &FloatTensor<B>,
        queries: &Range<usize>,
        block: &KeyBlock,
        before: Option<Running<B>>,
    ) -> Running<B> {
        let scores = self.scores(q, &tokens::<B>(&self.k, &block.keys), queries, block);
        let block_largest = B::float_max_dim(scores.clone(), 3);
        let largest = match &before {
            Some(before) => larger::<B>(before.largest.clone(), block_largest),
            None => block_largest,
        };
        let probabilities = B::float_exp(B::float_sub(scores, largest.clone()));
        let mut sum = B::float_sum_dim(probabilities.clone(), 3);
        let probabilities = self.folded(cast::<B>(probabilities, self.dtype));
        let mut values = self.unfolded(B::float_matmul(probabilities, tokens::<B>(&self.v, &block.keys)));
        if let Some(before) = before {
            let shrink = B::float_exp(B::float_sub(before.largest, largest.clone()));
            sum = B::float_add(B::float_mul(before.sum, shrink.clone()), sum);
            values = B::float_add(B::float_mul(before.values, shrink), values);
        }
        Running { largest, sum, values }
    }

    /// Gradients of `q`, `k` and `v`.
    fn backward(
        &self,
        out: FloatTensor<B>,
        lse: FloatTensor<B>,
        grad: FloatTensor<B>,
    ) -> [FloatTensor<B>; 3] {
        let count = self.blocks.count();
        let mut dq = Vec::with_capacity(count);
        let (mut dk, mut dv) = (vec![None; count], vec![None; count]);
        for index in 0..count {
            let queries = self.blocks.tokens(index);
            let [q, out, lse, grad] =
                [&self.q, &out, &lse, &grad].map(|tensor| tokens::<B>(tensor, &queries));
            // Subtracted from every probability's gradient, because probabilities sum to 1.
            let along = B::float_mul(cast::<B>(grad.clone(), self.wide), cast::<B>(out, self.wide));
            let along = B::float_sum_dim(along, 3);
            let (q, grad) = (self.folded(q), self.folded(grad));
            let mut of_queries = None;
            for block in self.blocks.keys_of(index) {
                let [k, v] = [&self.k, &self.v].map(|tensor| tokens::<B>(tensor, &block.keys));
                let scores = self.scores(&q, &k, &queries, &block);
                let probabilities = B::float_exp(B::float_sub(scores, lse.clone()));
                let rounded = self.folded(cast::<B>(probabilities.clone(), self.dtype));
                let of_values = B::float_matmul(B::float_transpose(rounded), grad.clone());
                self.add(&mut dv[block.index], of_values);

                let of_probabilities = self.unfolded(B::float_matmul(grad.clone(), B::float_transpose(v)));
                let of_scores = B::float_mul(probabilities, B::float_sub(of_probabilities, along.clone()));
                let of_scores = self.folded(cast::<B>(of_scores, self.dtype));
                self.add(&mut of_queries, B::float_matmul(of_scores.clone(), k));
                let of_keys = B::float_matmul(B::float_transpose(of_scores), q.clone());
                self.add(&mut dk[block.index], of_keys);
            }
            let of_queries = of_queries.map(|tensor| {
                let scaled = B::float_mul_scalar(self.unfolded(tensor), self.scale.into());
                cast::<B>(scaled, self.dtype)
            });
            dq.extend(of_queries);
        }
        let joined = |blocks: Vec<Option<FloatTensor<B>>>| {
            let blocks = blocks.into_iter().flatten();
            B::float_cat(blocks.map(|block| cast::<B>(block, self.dtype)).collect(), 2)
        };
        [B::float_cat(dq, 2), joined(dk), joined(dv)]
    }

    /// Adds in the type of sums.
    fn add(&self, sum: &mut Option<FloatTensor<B>>, term: FloatTensor<B>) {
        let term = cast::<B>(term, self.wide);
        *sum = Some(match sum.take() {
            Some(sum) => B::float_add(sum, term),
            None => term,
        });
    }
}

/// The state of a block of queries after some of the keys, all `[batch, heads, queries, …]`.
struct Running<B: Backend> {
    largest: FloatTensor<B>,
    /// Of the exponentials of the scores minus the largest.
    sum: FloatTensor<B>,
    /// Values, weighted by the same.
    values: FloatTensor<B>,
}

/// Which keys a query must not see.
struct Masks<B: Backend> {
    /// 0, 1, … `[1, 1, seq, 1]`.
    index: IntTensor<B>,
    /// Where the document of each token begins, `[batch, 1, seq, 1]`.
    starts: IntTensor<B>,
    batch: usize,
    dtype: BoolDType,
}

impl<B: Backend> Masks<B> {
    fn new(documents: &Documents, device: &Device<B>) -> Self {
        let (batch, seq) = (documents.batch(), documents.seq());
        let index: Vec<i32> = (0..seq as i32).collect();
        let positions = documents.positions();
        let starts: Vec<i32> = positions
            .iter()
            .zip(index.iter().cycle())
            .map(|(position, token)| token - *position as i32)
            .collect();
        Self {
            index: ints::<B>(index, [1, 1, seq, 1], device),
            starts: ints::<B>(starts, [batch, 1, seq, 1], device),
            batch,
            dtype: get_device_settings::<B>(device).bool_dtype,
        }
    }

    /// `[batch, 1, queries, keys]`: true where a query must not see a key.
    fn of(&self, queries: &Range<usize>, keys: &Range<usize>) -> BoolTensor<B> {
        let slice = |tensor: &IntTensor<B>, range| B::int_slice(tensor.clone(), &only_tokens(range));
        let shape = Shape::from([self.batch, 1, queries.len(), keys.len()]);
        let wide = |tensor| B::int_expand(tensor, shape.clone());
        let key = wide(B::int_swap_dims(slice(&self.index, keys), 2, 3));
        let later = B::int_greater(key.clone(), wide(slice(&self.index, queries)), self.dtype);
        let earlier = B::int_lower(key, wide(slice(&self.starts, queries)), self.dtype);
        B::bool_or(later, earlier)
    }
}

fn only_tokens(range: &Range<usize>) -> [Slice; 4] {
    [Slice::full(), Slice::full(), range.clone().into(), Slice::full()]
}

/// These tokens of a `[batch, heads, seq, …]` tensor.
fn tokens<B: Backend>(tensor: &FloatTensor<B>, range: &Range<usize>) -> FloatTensor<B> {
    B::float_slice(tensor.clone(), &only_tokens(range))
}

fn larger<B: Backend>(a: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = get_device_settings::<B>(&a.device()).bool_dtype;
    let is_lower = B::float_lower(a.clone(), b.clone(), dtype);
    B::float_mask_where(a, is_lower, b)
}

#[derive(Debug, Clone)]
pub(super) struct SavedAttention<B: Backend> {
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    out: FloatTensor<B>,
    /// `[batch, heads, seq, 1]`.
    lse: FloatTensor<B>,
    documents: Documents,
    block: usize,
}

/// # Shapes
/// As [`crate::document_attention`].
pub(super) fn forward<B: Backend>(
    [q, k, v]: [FloatTensor<B>; 3],
    documents: Documents,
    block: usize,
    _: [bool; 3],
) -> (FloatTensor<B>, SavedAttention<B>) {
    let inputs = Inputs::<B>::new(q.clone(), k.clone(), v.clone(), &documents, block);
    let (outs, lses): (Vec<_>, Vec<_>) = (0..inputs.blocks.count())
        .map(|index| inputs.forward(index))
        .unzip();
    let (out, lse) = (B::float_cat(outs, 2), B::float_cat(lses, 2));
    let saved = SavedAttention {
        q,
        k,
        v,
        out: out.clone(),
        lse,
        documents,
        block,
    };
    (out, saved)
}

impl<B: Backend> Saved<B, 3> for SavedAttention<B> {
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; 3] {
        let inputs = Inputs::<B>::new(self.q, self.k, self.v, &self.documents, self.block);
        inputs.backward(self.out, self.lse, grad).map(Some)
    }
}
