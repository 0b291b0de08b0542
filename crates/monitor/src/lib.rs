//! Views of a run.
//!
//! [`RunFiles`] reads a run's folder; [`status`](status::status) sums up its progress in a few lines, [`closing_table`] what
//! its stages can do, and [`report`](report::report) draws it as one HTML page, next to other runs if wished, which
//! [`Watch`] serves during the run. [`TensorBoard`] and [`Prometheus`] listen to it.

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
