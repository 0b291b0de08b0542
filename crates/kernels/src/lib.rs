//! The operations that a transformer spends its time in, as plain functions on Burn tensors.
//!
//! One file per operation. Each is differentiable, runs on every backend, and computes in the dtype of its inputs; norms,
//! softmax and cross-entropy always reduce in `f32`. A backend runs its kernel for an operation ([`fused`]) if it has one;
//! otherwise attention and cross-entropy run in blocks ([`blocks`]), the others as plain operations. With
//! `SMOLLM3_PLAIN_KERNELS=1` in the environment the plain bodies run everywhere.

// burn-tch is this project's fast path until Burn 0.23 drops it; `wgpu` will remain.
#![cfg_attr(feature = "tch", allow(deprecated))]

mod adamw;
mod adamw_step;
mod address;
mod attention;
mod blocks;
mod deterministic;
mod device;
mod device_error;
mod documents;
mod dtype;
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(any(feature = "flex", feature = "tch"))]
mod fused;
#[cfg(any(feature = "flex", feature = "tch"))]
mod host;
mod host_targets;
mod linear;
mod loss;
mod memory;
mod norm;
mod profile;
mod rotary;
mod swiglu;
#[cfg(feature = "tch")]
mod tch;
mod thread_count;
mod total;
mod tracked;
mod transfers;
mod upload;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use adamw::{adamw, adamw_all, plain_adamw};
pub use adamw_step::AdamWStep;
pub use address::addressed;
pub use attention::{
    CacheView, blockwise_document_attention, cached_attention, document_attention, plain_document_attention,
};
pub use deterministic::{is_deterministic, set_deterministic};
pub use device::{compiled_backends, computes_bf16, device, libtorch_gpu, visible_gpus};
pub use device_error::DeviceError;
pub use documents::{Documents, DocumentsError};
pub use linear::{linear, plain_linear};
pub use loss::{
    LOSS_ROWS, LossSum, Targets, blockwise_linear_cross_entropy, linear_cross_entropy,
    plain_linear_cross_entropy, token_log_probs,
};
pub use memory::{DeviceMemory, FreedMemory, device_memory, peak_memory, total_memory};
pub use norm::{plain_rms_norm, rms_norm};
pub use profile::{Profile, profile};
pub use rotary::{plain_rotary, rotary};
pub use swiglu::{plain_swiglu, swiglu};
pub use thread_count::{limit_threads, threads_of_rank};
pub use total::total;
pub use transfers::{Transfers, read_back};
pub use upload::upload;
