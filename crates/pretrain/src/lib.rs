//! Stages on token rows: pretraining and longer contexts.
//!
//! ```text
//! token stores ── the mixer's order ── rows ── the engine's loop
//! ```
//!
//! [`MixedRows`] says which windows of which sources a step reads; [`pretrain`] runs a stage. The objective is the engine's
//! cross-entropy, and so are the loop, its checkpoints and its guards.

mod mixed_rows;
mod stage;

pub use mixed_rows::{MixedRows, stage_order};
pub use stage::pretrain;
