//! The batch of a step over all ranks, as they tell each other before they compute anything.

use std::collections::BTreeSet;

use smollm3_collective::Collective;

use crate::{Objective, Result};

/// Numbers that a rank sends before the forward pass: targets, micro-batches, sources, a wish to stop.
pub const BATCH_NUMBERS: usize = 4;

/// This rank's micro-batches of a step, and what there is on all ranks.
#[derive(Debug, Clone)]
pub struct GlobalBatch<'b, M> {
    /// This rank's.
    pub(crate) micro_batches: &'b [M],
    /// Targets of all ranks.
    pub(crate) targets: f64,
    /// Micro-batches of all ranks.
    pub(crate) count: f64,
    /// Micro-batches of the rank that has most of them.
    pub(crate) most: usize,
    /// Of how many sources each rank has rows.
    pub(crate) sources: Vec<usize>,
    /// Whether any rank was asked to stop before this step.
    pub stop: bool,
}

impl<'b, M> GlobalBatch<'b, M> {
    /// Tells the other ranks of this one's micro-batches, and whether it was asked to stop; one exchange.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub fn gather<O: Objective<MicroBatch = M>>(
        objective: &O,
        micro_batches: &'b [M],
        stop: bool,
        ranks: &dyn Collective,
    ) -> Result<Self> {
        let targets: usize = micro_batches.iter().map(|batch| objective.targets(batch)).sum();
        let origins = micro_batches.iter().flat_map(|batch| objective.origins(batch));
        let sources: BTreeSet<usize> = origins.map(|origin| origin.source).collect();
        let own = [targets, micro_batches.len(), sources.len(), usize::from(stop)];
        let mut of_ranks = own.map(|number| number as f64).repeat(ranks.world());
        ranks.all_gather_f64(&mut of_ranks, &vec![own.len(); ranks.world()])?;

        let of_ranks: &[[f64; BATCH_NUMBERS]] = of_ranks.as_chunks().0;
        let column = |index: usize| of_ranks.iter().map(move |numbers| numbers[index]);
        Ok(Self {
            micro_batches,
            targets: column(0).sum(),
            count: column(1).sum(),
            most: column(1).fold(0.0, f64::max) as usize,
            sources: column(2).map(|count| count as usize).collect(),
            stop: column(3).any(|stop| stop > 0.0),
        })
    }
}
