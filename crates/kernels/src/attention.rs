//! Causal grouped-query attention inside documents.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation::softmax};

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
