//! Causal grouped-query attention inside documents.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation::softmax};

use crate::dtype::accumulator;
use crate::{Documents, blocks};

/// Queries per block in attention to cached keys.
const CACHED_QUERIES: usize = 128;

/// Attention of every token to the tokens before it in its own document.
///
/// Query heads that share a key/value head are folded into the rows of one matrix product, so K and V are never
/// repeated. The softmax runs in `f32`; scores are scaled by `1/√head_dim`. Memory is linear in `seq`: where the backend
/// has no kernel for it, [`blockwise_document_attention`] runs.
///
/// # Shapes
/// - `q`: `[batch, heads, seq, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, seq, head_dim]`, `heads` a multiple of `kv_heads`
/// - output: `[batch, heads, seq, head_dim]`
pub fn document_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, documents: &Documents) -> Tensor<4> {
    if crate::device::are_plain_wanted() {
        return plain_document_attention(q, k, v, documents);
    }
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_attention_fused(&q) {
        return crate::fused::attention(q, k, v, documents.clone());
    }
    let [batch, heads, _, _] = q.dims();
    blockwise_document_attention(q, k, v, documents, blocks::attention_block(batch, heads))
}

/// [`document_attention`] in blocks of `block` tokens, on any backend.
///
/// # Shapes
/// As [`document_attention`].
///
/// # Panics
/// `block` is 0.
pub fn blockwise_document_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    documents: &Documents,
    block: usize,
) -> Tensor<4> {
    blocks::attention(q, k, v, documents.clone(), block)
}

/// [`document_attention`] in plain tensor operations: the reference of the fast ones. Holds all scores.
///
/// # Shapes
/// As [`document_attention`].
pub fn plain_document_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    documents: &Documents,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let kv_heads = k.dims()[1];
    let group = heads / kv_heads;
    let dtype = q.dtype();
    let device = q.device();

    let q = q.mul_scalar((head_dim as f64).powf(-0.5));
    let q = q.reshape([batch, kv_heads, group * seq, head_dim]);
    let scores = q.matmul(k.transpose()).cast(accumulator(dtype)); // [batch, kv_heads, group·seq, seq]
    let scores = scores.reshape([batch, heads, seq, seq]);
    let scores = scores.mask_fill(forbidden(documents, &device), f32::NEG_INFINITY);
    let weights = softmax(scores, 3)
        .cast(dtype)
        .reshape([batch, kv_heads, group * seq, seq]);
    weights.matmul(v).reshape([batch, heads, seq, head_dim])
}

/// What the last tokens of rows see of earlier tokens: those of their own row. Rows may begin at different positions.
#[derive(Debug, Clone)]
pub struct CacheView {
    starts: Arc<[usize]>,
    /// [`hidden`] of all queries if they are few; shared by all layers.
    hidden: Option<Tensor<4, Bool>>,
}

impl CacheView {
    /// Of the last `queries` of `total` tokens of rows that begin at `starts`, computed in `dtype`.
    pub fn new(starts: &[usize], [queries, total]: [usize; 2], device: &Device, dtype: DType) -> Self {
        let is_kept = !crate::device::is_on_host(device, dtype) && queries <= CACHED_QUERIES;
        let hidden = is_kept
            .then(|| hidden(starts, total - queries..total, device))
            .flatten();
        Self {
            starts: starts.into(),
            hidden,
        }
    }
}

/// Attention of the last tokens of rows to cached keys and values. Not differentiable on a CPU, where it is fused.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, total, head_dim]`
/// - output: `[batch, heads, queries, head_dim]`
pub fn cached_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &CacheView) -> Tensor<4> {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_on_host(&q.device(), q.dtype()) {
        return crate::fused::cached_attention(q, k, v, Arc::clone(&view.starts));
    }
    blockwise_cached_attention(q, k, v, view)
}

/// [`cached_attention`] in plain tensor operations, a block of queries at a time: memory is linear in `total`.
fn blockwise_cached_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, view: &CacheView) -> Tensor<4> {
    let (queries, total) = (q.dims()[2], k.dims()[2]);
    if queries <= CACHED_QUERIES {
        return plain_cached_attention(q, k, v, view.hidden.as_ref());
    }
    let before = total - queries;
    let blocks = (0..queries).step_by(CACHED_QUERIES).map(|first| {
        let block = first..(first + CACHED_QUERIES).min(queries);
        let seen = before + block.end;
        let mask = hidden(&view.starts, before + block.start..seen, &q.device());
        let [k, v] = [&k, &v].map(|tensor| tensor.clone().narrow(2, 0, seen));
        plain_cached_attention(q.clone().narrow(2, first, block.len()), k, v, mask.as_ref())
    });
    Tensor::cat(blocks.collect(), 2)
}

/// [`cached_attention`] in plain tensor operations; memory is `queries · total`.
fn plain_cached_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<&Tensor<4, Bool>>,
) -> Tensor<4> {
    let [batch, heads, queries, head_dim] = q.dims();
    let [_, kv_heads, total, _] = k.dims();
    let group = heads / kv_heads;
    let dtype = q.dtype();
    let q = q.mul_scalar((head_dim as f64).powf(-0.5));
    let q = q.reshape([batch, kv_heads, group * queries, head_dim]);
    let scores = q.matmul(k.transpose()).cast(accumulator(dtype)); // [batch, kv_heads, group·queries, total]
    let mut scores = scores.reshape([batch, heads, queries, total]);
    if let Some(mask) = mask {
        // Not −∞: a padding token sees nothing, and its output is unused.
        scores = scores.mask_fill(mask.clone().expand([batch, heads, queries, total]), -1e30);
    }
    let weights = softmax(scores, 3)
        .cast(dtype)
        .reshape([batch, kv_heads, group * queries, total]);
    weights.matmul(v).reshape([batch, heads, queries, head_dim])
}

/// `[batch, 1, queries, total]`: true where a query must not see a key, because the key is later or before its row's start.
/// `None` if every query sees every key.
fn hidden(starts: &[usize], queries: Range<usize>, device: &Device) -> Option<Tensor<4, Bool>> {
    let (batch, count, total) = (starts.len(), queries.len(), queries.end);
    if count == 1 && starts.iter().all(|start| *start == 0) {
        return None;
    }
    let shape = [batch, 1, count, total];
    let ints = |range: Range<usize>| Tensor::<1, Int>::arange(range.start as i64..range.end as i64, device);
    let key = ints(0..total).reshape([1, 1, 1, total]).expand(shape);
    let query = ints(queries).reshape([1, 1, count, 1]).expand(shape);
    let starts: Vec<i32> = starts.iter().map(|start| *start as i32).collect();
    let starts = Tensor::<1, Int>::from_data(TensorData::new(starts, [batch]), device);
    let start = starts.reshape([batch, 1, 1, 1]).expand(shape);
    Some(key.clone().greater(query).bool_or(key.lower(start)))
}

/// `[batch or 1, 1, seq, seq]`: true where a query (third axis) must not see a key (fourth).
fn forbidden(documents: &Documents, device: &Device) -> Tensor<4, Bool> {
    let seq = documents.seq();
    let index = Tensor::<1, Int>::arange(0..seq as i64, device);
    let query = index.clone().reshape([1, 1, seq, 1]).expand([1, 1, seq, seq]);
    let key = index.reshape([1, 1, 1, seq]).expand([1, 1, seq, seq]);
    let future = key.greater(query);
    if documents.is_whole_rows() {
        return future;
    }
    let batch = documents.batch();
    let ids = TensorData::new(documents.document_ids(), [batch, seq]);
    let ids = Tensor::<2, Int>::from_data(ids, device);
    let query = ids
        .clone()
        .reshape([batch, 1, seq, 1])
        .expand([batch, 1, seq, seq]);
    let key = ids.reshape([batch, 1, 1, seq]).expand([batch, 1, seq, seq]);
    query.not_equal(key).bool_or(future.expand([batch, 1, seq, seq]))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    /// A prompt longer than a block of queries; one row begins later.
    #[test]
    fn blocks_of_cached_queries_are_the_whole() {
        let device = Device::flex();
        let (before, queries) = (37, 2 * CACHED_QUERIES + 11);
        let (starts, total) = ([0, 45], before + queries);
        let random = |heads, seq| Tensor::<4>::random([2, heads, seq, 8], Distribution::Default, &device);
        let (q, k, v) = (random(4, queries), random(2, total), random(2, total));
        let view = CacheView::new(&starts, [queries, total], &device, DType::F32);
        let mask = hidden(&starts, before..total, &device);
        let whole = plain_cached_attention(q.clone(), k.clone(), v.clone(), mask.as_ref());
        let found = blockwise_cached_attention(q, k, v, &view);
        // The first tokens of the second row are padding.
        for (row, first) in [(0, 0), (1, starts[1] - before)] {
            let seen =
                |tensor: &Tensor<4>| tensor.clone().narrow(0, row, 1).narrow(2, first, queries - first);
            let off = (seen(&found) - seen(&whole)).abs().max().into_scalar::<f32>();
            assert!(off < 1e-6, "row {row}: off by {off}");
        }
    }
}
