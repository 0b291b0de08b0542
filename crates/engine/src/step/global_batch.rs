//! The batch of a step over all ranks, which they agree on before they compute anything.

use std::collections::BTreeSet;

use smollm3_collective::Collective;
use smollm3_recipe::LossAverage;

use super::objective::Objective;
use crate::Result;

/// Numbers that a rank sends before the forward pass: targets, micro-batches, sources, whether to stop.
pub const BATCH_NUMBERS: usize = 4;

/// This rank's micro-batches of a step, and the totals over all ranks.
pub struct GlobalBatch<'b, M> {
    /// The ranks that compute it.
    pub(crate) ranks: &'b dyn Collective,
    /// This rank's.
    pub(crate) micro_batches: &'b [M],
    /// Targets of all ranks.
    pub(crate) targets: f64,
    /// Micro-batches of all ranks.
    count: f64,
    /// Micro-batches of the rank that has most of them.
    pub(crate) most: usize,
    /// Number of sources that each rank has rows of.
    pub(crate) sources: Vec<usize>,
    /// Whether any rank was asked to stop before this step.
    pub stop: bool,
}

impl<'b, M> GlobalBatch<'b, M> {
    /// Announces this rank's micro-batches to the others, and whether it was asked to stop; one exchange.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub fn gather<O: Objective<MicroBatch = M>>(
        objective: &O,
        micro_batches: &'b [M],
        stop: bool,
        ranks: &'b dyn Collective,
    ) -> Result<Self> {
        let origins = || micro_batches.iter().flat_map(|batch| objective.origins(batch));
        let targets: usize = origins().map(|origin| origin.targets).sum();
        let sources: BTreeSet<usize> = origins().map(|origin| origin.source).collect();
        let own = [targets, micro_batches.len(), sources.len(), usize::from(stop)];
        let mut of_ranks = own.map(|number| number as f64).repeat(ranks.world());
        ranks.all_gather_f64(&mut of_ranks, &vec![own.len(); ranks.world()])?;

        let of_ranks: &[[f64; BATCH_NUMBERS]] = of_ranks.as_chunks().0;
        let column = |index: usize| of_ranks.iter().map(move |numbers| numbers[index]);
        Ok(Self {
            ranks,
            micro_batches,
            targets: column(0).sum(),
            count: column(1).sum(),
            most: column(1).fold(0.0, f64::max) as usize,
            sources: column(2).map(|count| count as usize).collect(),
            stop: column(3).any(|stop| stop > 0.0),
        })
    }

    /// The factor of a micro-batch's summed loss over `count` targets in the loss of the step.
    pub(crate) fn weight(&self, average: LossAverage, count: usize) -> f64 {
        match average {
            LossAverage::Tokens => 1.0 / self.targets.max(1.0),
            LossAverage::MeanOfMeans => 1.0 / (count.max(1) as f64 * self.count),
        }
    }
}
