//! Causal grouped-query attention inside documents.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation::softmax};

use std::sync::Arc;

use crate::Documents;

/// Attention of every token to the tokens before it in its own document.
///
/// Query heads that share a key/value head are folded into the rows of one matrix product, so K and V are never
/// repeated. The softmax runs in `f32`; scores are scaled by `1/√head_dim`.
///
/// # Shapes
/// - `q`: `[batch, heads, seq, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, seq, head_dim]`, `heads` a multiple of `kv_heads`
/// - output: `[batch, heads, seq, head_dim]`
pub fn document_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, documents: &Documents) -> Tensor<4> {
    #[cfg(any(feature = "flex", feature = "tch"))]
    if crate::device::is_attention_fused(&q) {
        return crate::fused::attention(q, k, v, documents);
    }
    plain_document_attention(q, k, v, documents)
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
    let scores = q.matmul(k.transpose()).cast(DType::F32); // [batch, kv_heads, group·seq, seq]
    let scores = scores.reshape([batch, heads, seq, seq]);
    let scores = scores.mask_fill(forbidden(documents, &device), f32::NEG_INFINITY);
    let weights = softmax(scores, 3)
        .cast(dtype)
        .reshape([batch, kv_heads, group * seq, seq]);
    weights.matmul(v).reshape([batch, heads, seq, head_dim])
}

/// What the last tokens of rows see of the tokens before them: those of their own row, which may begin later than
/// others.
#[derive(Debug, Clone)]
pub struct CacheView {
    starts: Arc<[usize]>,
    /// What must not be seen, where that is not clear from the starts; `[batch, 1, queries, total]`.
    hidden: Option<Tensor<4, Bool>>,
}

impl CacheView {
    /// Of the last `queries` of `total` tokens of rows that begin at `starts`, computed in `dtype`.
    pub fn new(starts: &[usize], [queries, total]: [usize; 2], device: &Device, dtype: DType) -> Self {
        let fused = crate::device::is_on_host(device, dtype);
        let hidden = (!fused).then(|| hidden(starts, queries, total, device)).flatten();
        Self {
            starts: starts.into(),
            hidden,
        }
    }
}

/// Attention of the last tokens of rows whose earlier keys and values are kept. Not differentiable where it is fused: on
/// a CPU.
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
    plain_cached_attention(q, k, v, view.hidden.as_ref())
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
    let scores = q.matmul(k.transpose()).cast(DType::F32); // [batch, kv_heads, group·queries, total]
    let mut scores = scores.reshape([batch, heads, queries, total]);
    if let Some(mask) = mask {
        // Not −∞: a padding token sees nothing, and nobody looks at what becomes of it.
        scores = scores.mask_fill(mask.clone().expand([batch, heads, queries, total]), -1e30);
    }
    let weights = softmax(scores, 3)
        .cast(dtype)
        .reshape([batch, kv_heads, group * queries, total]);
    weights.matmul(v).reshape([batch, heads, queries, head_dim])
}

/// What the last `queries` of `total` tokens must not see: what comes after each, and what is before its row's start.
/// `[batch, 1, queries, total]`; nothing if there is nothing to hide.
fn hidden(starts: &[usize], queries: usize, total: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    if queries == 1 && starts.iter().all(|start| *start == 0) {
        return None;
    }
    let before = total - queries;
    let mask: Vec<bool> = starts
        .iter()
        .flat_map(|start| (0..queries).map(move |query| (*start, query)))
        .flat_map(|(start, query)| (0..total).map(move |key| key > before + query || key < start))
        .collect();
    let mask = TensorData::new(mask, [starts.len(), 1, queries, total]);
    Some(Tensor::from_data(mask, device))
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
