//! Fused operations for the `flex` backend: host loops over `f32` slices, on all cores.
//!
//! Burn's composed operations write every intermediate to memory, a whole score matrix or the full logits among
//! them. These keep one block in cache, and their backward passes compute again what is cheap to compute again.
//!
//! One file an operation, on slices; [`lanes`] and [`matmul`] are what they are made of; [`extension`] makes Burn
//! operations of them, and [`tracked`] puts those into its graph.

mod attention;
mod cross_entropy;
mod extension;
mod lanes;
mod matmul;
mod rms_norm;
mod rotary;
mod swiglu;
mod tensor;
mod tracked;

pub(crate) use extension::{attention, cross_entropy, rms_norm, rotary, swiglu};
