//! The data of a stage.

use std::collections::BTreeMap;

use burn_dataset::Dataset;
use smollm3_recipe::Phase;
use smollm3_records::{RowRef, SourceName};

use crate::EngineError;

/// The data of a stage as a [`Dataset`]: item `k` is this rank's batch of step `k + 1` (items count from 0, steps from 1), as
/// its micro-batches on the host, and the length is the number of steps.
///
/// An item is a pure function of the recipe and its index: a stage resumes at any step by getting the item of that step.
pub trait StepBatches<B>: Dataset<Vec<B>, EngineError> {
    /// The sources, in the order of the indices that rows name them by.
    fn sources(&self) -> Vec<SourceName>;

    /// The share that each source is to have in a phase.
    fn shares(&self, phase: &Phase) -> BTreeMap<String, f64>;

    /// The rows of a step, of all ranks.
    fn rows_of(&self, step: u64) -> Vec<RowRef>;
}
