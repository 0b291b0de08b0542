//! Fused operations for the `flex` backend: host loops over `f32` slices, on all cores.
//!
//! Burn's composed operations write every intermediate to memory, a whole score matrix or the full logits among
//! them. These keep one block in cache, and their backward passes compute again what is cheap to compute again.

mod attention;
mod cross_entropy;
mod exp;
mod extension;
mod matmul;

pub(crate) use extension::{attention, cross_entropy};
