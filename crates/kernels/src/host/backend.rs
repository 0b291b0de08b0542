//! What the loops need of a backend.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape};

use super::{Element, Threads, View};

/// A backend whose tensors lie in the host's memory, where they are read and written as slices.
///
/// # Panics
/// A tensor is elsewhere, has another dtype than `E` or another layout than stated: a mistake of the caller.
pub(crate) trait HostBackend: Backend {
    /// The threads that the backend computes on itself.
    const THREADS: Threads;

    /// A tensor to write to; its numbers are unspecified.
    fn empty(shape: Shape, dtype: DType) -> FloatTensor<Self>;

    /// Zeros in `f32`.
    fn zeros(shape: Shape) -> FloatTensor<Self>;

    /// The tensor itself if it is contiguous, else a contiguous copy.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The tensor itself if its last axis is dense and no stride is negative, else a contiguous copy.
    fn inner_dense(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The numbers of a contiguous tensor.
    fn slice<E: Element>(tensor: &FloatTensor<Self>) -> &[E];

    /// The numbers of a contiguous tensor, which becomes a copy first if it is shared.
    fn slice_mut<E: Element>(tensor: &mut FloatTensor<Self>) -> &mut [E];

    /// A tensor `[batch, heads, seq, head_dim]` that is dense as [`Self::inner_dense`] makes it.
    fn view<E: Element>(tensor: &FloatTensor<Self>) -> View<'_, E>;

    /// `left · right`, `[m, k]` and `[k, n]` with any strides; in the memory of `reuse` where that fits and helps.
    fn product(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        reuse: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self>;

    /// `sum + left · right` in place; `sum` is in `f32`.
    fn add_product(
        sum: FloatTensor<Self>,
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}
