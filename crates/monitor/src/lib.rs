//! Runs as others see them.
//!
//! [`RunFiles`] reads what a run has left in its folder; [`status`](status::status) says in a few lines where it is,
//! and [`report`](report::report) draws it as one HTML page, beside others if wished. [`TensorBoard`] and [`Prometheus`]
//! listen while it goes on.

mod files;
mod prometheus;
pub mod report;
pub mod status;
mod tensorboard;

pub use files::{RunFiles, StageFiles};
pub use prometheus::Prometheus;
pub use tensorboard::TensorBoard;
