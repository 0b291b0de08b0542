//! Time: the training step, the loop around it, checkpoints, metrics and progress.
//!
//! [`step`](train_step) is one update; [`trainer`] repeats it; [`checkpoint`] keeps what it reached; [`events`](Event)
//! tell whoever listens. [`Run`] puts a recipe, its data and a device together and runs its stages.

mod adamw;
mod adapters;
mod backward;
mod batch;
pub mod bench;
pub mod checkpoint;
mod claim;
mod data;
mod error;
mod events;
mod file_hashes;
mod global_batch;
mod gradients;
pub mod guard;
mod held_out;
mod hub_models;
mod kept;
mod line_file;
mod manifest;
mod metrics;
mod moments;
mod parents;
mod parts;
mod prefetch;
mod pretrain;
pub mod ranks;
mod reduce;
mod retention;
mod rows;
mod run;
mod saver;
mod share;
mod source_text;
mod step;
mod sums;
pub mod trainer;
mod validation;
mod watched;

pub use adamw::AdamW;
pub use adapters::write_merged;
pub use batch::{CrossEntropy, MicroBatch, Row, RowOrigin};
pub use claim::{belongs, read_recipe};
pub use data::{Data, SourceStore};
pub use error::{EngineError, Result};
pub use events::{
    CollectiveRecord, Event, HeldOutRecord, IncidentKind, Listener, Listeners, MeasureRecord, PhaseInfo,
    RowRef, SourceName, SourceRecord, StageInfo, StepRecord, ended_early,
};
pub use file_hashes::FileHashes;
pub use global_batch::GlobalBatch;
pub use gradients::AccumulatedGradients;
pub use held_out::{HeldOut, held_out_by_category, held_out_loss, held_out_rows, token_bytes, token_losses};
pub use hub_models::locate_models;
pub use kept::Kept;
pub use metrics::{Incident, Metrics, Record, read_incidents, read_metrics, read_stage};
pub use reduce::ReducedGradients;
pub use retention::Retention;
pub use rows::{MixedRows, stage_order};
pub use run::{Run, dtype, prepare};
pub use saver::Writing;
pub use share::Share;
pub use source_text::source_sample;
pub use step::{Objective, ObjectiveLoss, SourceLoss, StepMode, StepResult, TrainState, train_step};
pub use validation::{BestLoss, ValidationState, stage_result};
pub use watched::{Watch, Watched};
