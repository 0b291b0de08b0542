//! Rows that a stage reads in several epochs, each in another order.

use std::collections::BTreeMap;

use burn_dataset::Dataset;
use smollm3_mixer::Permutation;
use smollm3_recipe::Phase;
use smollm3_records::{RowRef, SourceName};

use super::rank_slice::RankSlice;
use super::step_batches::StepBatches;
use crate::{EngineError, Result};

/// The order of rows: place `n` of the stage has row `permutation_e(n mod rows)` with `e = n div rows`, for a permutation
/// that the run's seed and the epoch `e` name.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    rows: u64,
    key: [u8; 32],
    rows_per_step: u64,
}

impl EpochOrder {
    /// The order of `rows` rows; `name` keeps orders of one seed apart.
    pub fn new(rows: u64, seed: u64, name: &str, rows_per_step: u64) -> Self {
        Self {
            rows,
            key: *blake3::hash(format!("{seed} {name}").as_bytes()).as_bytes(),
            rows_per_step,
        }
    }

    /// The rows of a step, by number; steps count from 1, rows from 0.
    pub fn numbers(&self, step: u64) -> Vec<u64> {
        let first = (step - 1) * self.rows_per_step;
        (first..first + self.rows_per_step)
            .map(|place| {
                let (epoch, place) = (place / self.rows, place % self.rows);
                let order = Permutation::new(self.rows, &self.key, epoch);
                order.get(place).unwrap_or(place)
            })
            .collect()
    }
}

/// Rows in an [`EpochOrder`] as the data of a stage.
pub struct EpochData<'a, F> {
    /// The order.
    pub order: EpochOrder,
    /// This rank's rows of a step.
    pub slice: RankSlice,
    /// Steps of the stage.
    pub steps: u64,
    /// The category of its sources, which incidents name as the source of rows.
    pub category: &'a str,
    /// The sources by name, with their number of rows.
    pub sources: Vec<(String, u64)>,
    /// Reads rows by their numbers, as micro-batches on the host.
    pub read: F,
}

impl<B, F> Dataset<Vec<B>, EngineError> for EpochData<'_, F>
where
    F: Fn(&[u64]) -> Result<Vec<B>> + Send + Sync,
{
    fn get(&self, index: usize) -> Result<Vec<B>> {
        (self.read)(&self.slice.of(self.order.numbers(index as u64 + 1))?)
    }

    fn len(&self) -> usize {
        self.steps as usize
    }
}

impl<B, F> StepBatches<B> for EpochData<'_, F>
where
    F: Fn(&[u64]) -> Result<Vec<B>> + Send + Sync,
{
    fn sources(&self) -> Vec<SourceName> {
        let source = |(name, _): &(String, u64)| SourceName {
            name: name.clone(),
            category: self.category.to_owned(),
        };
        self.sources.iter().map(source).collect()
    }

    fn shares(&self, _: &Phase) -> BTreeMap<String, f64> {
        let share = |rows: u64| rows as f64 / self.order.rows.max(1) as f64;
        let sources = self.sources.iter();
        sources.map(|(name, rows)| (name.clone(), share(*rows))).collect()
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        let row = |number| RowRef {
            source: self.category.to_owned(),
            window: number,
        };
        self.order.numbers(step).into_iter().map(row).collect()
    }
}
