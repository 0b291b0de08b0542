//! Training on conversations: reasoning mid-training and supervised fine-tuning.
//!
//! ```text
//! conversations' tokens and masks ── packed rows ── the engine's loop
//! ```
//!
//! [`PackedRows`] says which conversations share a row and which row comes when; [`fine_tune`] runs a stage. The tokens are
//! `conversations`', the loop, its checkpoints and its guards the engine's.

mod packed_rows;
mod stage;

pub use packed_rows::PackedRows;
pub use stage::{fine_tune, prepared_data};
