//! Time: the training step, the loop around it, checkpoints.
//!
//! [`step`](train_step) is one update; [`trainer`] repeats it; [`checkpoint`] keeps what it reached. What happens is told
//! as [`Event`](smollm3_records::Event)s. [`Run`] puts a recipe, its data and a device together; a stage's crate brings the
//! [`Objective`] and the rows.

mod adamw;
mod adapters;
mod backward;
mod batch;
pub mod bench;
pub mod checkpoint;
mod claim;
mod error;
mod frozen;
mod global_batch;
mod gradients;
pub mod guard;
mod held_out;
mod hub_models;
mod kept;
mod known_checkpoints;
mod manifest;
mod moments;
mod objective;
mod parents;
mod parts;
mod prefetch;
pub mod ranks;
mod reduce;
mod retention;
mod run;
mod saver;
mod share;
mod step;
mod sums;
mod train_state;
pub mod trainer;
mod watched;

pub use adamw::AdamW;
pub use adapters::write_merged;
pub use batch::{CrossEntropy, MicroBatch, Row};
pub use error::{EngineError, Result};
pub use global_batch::{BATCH_NUMBERS, GlobalBatch};
pub use gradients::AccumulatedGradients;
pub use held_out::{HeldOut, held_out_rows, token_bytes, token_losses};
pub use hub_models::locate_models;
pub use kept::Kept;
pub use objective::{Objective, ObjectiveLoss, RowOrigin, SourceLoss};
pub use reduce::{ReducedGradients, SHARD_ALIGNMENT};
pub use retention::Retention;
pub use run::{Run, dtype, prepare};
pub use saver::Writing;
pub use share::Share;
pub use step::{StepMode, StepResult, train_step};
pub use sums::{SOURCE_NUMBERS, STEP_NUMBERS};
pub use train_state::TrainState;
pub use watched::{Watch, Watched};
