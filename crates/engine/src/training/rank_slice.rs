//! The rows of a step that a rank computes.

use smollm3_collective::Collective;
use smollm3_mixer::slice_batch;
use smollm3_recipe::{Stage, Training};

use crate::Result;

/// The slice of every step's rows that one rank computes: whole micro-batches, dealt out round-robin, so that a micro-batch
/// holds the same rows at any number of ranks, as long as each gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankSlice {
    rank: u64,
    world: u64,
    /// Rows that are dealt out together.
    dealt: u64,
    micro_batch: u64,
}

impl RankSlice {
    /// The only slice, where there is one rank.
    pub fn whole(training: &Training) -> Self {
        let micro_batch = training.micro_batch.0;
        Self {
            rank: 0,
            world: 1,
            dealt: micro_batch,
            micro_batch,
        }
    }

    /// The slice of this rank in the steps of a stage.
    ///
    /// # Errors
    /// The rows of a step cannot be divided among the ranks, or a rank's not into micro-batches.
    pub fn new(ranks: &dyn Collective, stage: &Stage, training: &Training) -> Result<Self> {
        let world = ranks.world() as u64;
        if world == 1 {
            return Ok(Self::whole(training));
        }
        let micro_batch = stage.micro_batches(training, world)?.0;
        Ok(Self {
            rank: ranks.rank() as u64,
            world,
            dealt: micro_batch,
            micro_batch,
        })
    }

    /// The same with each rank's rows one after another, for rows that are not grouped before they are dealt out.
    pub fn in_one_piece(self, rows_per_step: u64) -> Self {
        Self {
            dealt: rows_per_step / self.world,
            ..self
        }
    }

    /// This rank's rows of a step.
    ///
    /// # Errors
    /// Their number is not that of a step.
    pub fn of<T: Clone>(&self, rows: Vec<T>) -> Result<Vec<T>> {
        if self.world == 1 {
            return Ok(rows);
        }
        Ok(slice_batch(&rows, self.rank, self.world, self.dealt)?.concat())
    }

    /// Rows that are computed at once.
    pub fn micro_batch(&self) -> usize {
        (self.micro_batch as usize).max(1)
    }

    /// This rank's rows by micro-batch.
    pub fn micro_batches<T>(&self, rows: Vec<T>) -> Vec<Vec<T>> {
        let mut rows = rows.into_iter();
        let micro_batch = || Some(rows.by_ref().take(self.micro_batch()).collect::<Vec<T>>());
        std::iter::from_fn(micro_batch)
            .take_while(|rows| !rows.is_empty())
            .collect()
    }
}
