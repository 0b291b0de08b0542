//! Time: the training step, the loop around it, checkpoints.
//!
//! [`train_step`] is one update; [`training`] repeats it; [`checkpoint`] saves the state that it reaches. The loop reports
//! [`Event`](smollm3_records::Event)s. A [`Run`] is a recipe, its data and a device; a stage's crate brings an [`Objective`]
//! and its [`StepBatches`] to [`run_stage`].

pub mod bench;
pub mod checkpoint;
mod error;
mod held_out;
pub mod ranks;
mod rewrite;
mod run;
mod step;
pub mod training;

pub use burn_dataset::Dataset;
pub use checkpoint::{ResumePoint, Retention, SaveJob, StageCheckpoints};
pub use error::{EngineError, Result};
pub use held_out::{HeldOut, held_out_by_category, held_out_loss, spread, token_bytes, token_losses};
pub use rewrite::{rewrite, rewrite_with_tokens};
pub use run::{Run, dtype, locate_models, prepare, write_merged};
pub use step::{
    AccumulatedGradients, AdamW, BATCH_NUMBERS, CrossEntropy, GlobalBatch, MicroBatch, Objective,
    ObjectiveLoss, Row, RowOrigin, SHARD_ALIGNMENT, SOURCE_NUMBERS, STEP_NUMBERS, SourceLoss, StepMode,
    StepResult, TrainState, train_step,
};
pub use training::{EpochData, EpochOrder, Evaluate, RankSlice, StepBatches, run_stage};
