//! The arithmetic of fused operations in the CPU's memory, on slices. One file per operation; [`lanes`] holds the vector
//! instructions, [`threads`] the cores, [`Element`] the dtypes, [`HostBackend`] what a backend must offer.

mod adamw;
pub(crate) mod attention;
mod backend;
mod element;
pub(crate) mod lanes;
mod loss_rows;
pub(crate) mod matmul;
mod rms_norm;
mod rotary;
mod swiglu;
mod threads;

pub(crate) use adamw::adamw;
pub(crate) use backend::HostBackend;
pub(crate) use element::Element;
pub(crate) use loss_rows::{loss_block, loss_rows};
pub(crate) use rms_norm::{rms_norm, rms_norm_backward};
pub(crate) use rotary::{Angles, View, rotary};
pub(crate) use swiglu::{swiglu, swiglu_backward};
pub(crate) use threads::{Shared, Threads};
