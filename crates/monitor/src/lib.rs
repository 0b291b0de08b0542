//! Runs as others see them.
//!
//! [`RunFiles`] reads what a run has left in its folder; [`status`](status::status) says in a few lines where it is,
//! [`closing_table`] what its stages can do, and [`report`](report::report) draws it as one HTML page, beside others if
//! wished, which [`Watch`] serves while it goes on. [`TensorBoard`] and [`Prometheus`] listen to it.

mod files;
mod findings;
mod local_server;
mod measures;
mod pipeline;
mod prometheus;
pub mod report;
pub mod status;
mod summary;
mod tensorboard;
mod watch;

pub use files::{RunFiles, StageFiles};
pub use findings::findings;
pub use pipeline::PlannedStage;
pub use prometheus::Prometheus;
pub use summary::closing_table;
pub use tensorboard::TensorBoard;
pub use watch::Watch;
