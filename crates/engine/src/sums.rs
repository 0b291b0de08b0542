//! What the losses and gradients of a step add up to, over micro-batches and over ranks.

use std::collections::BTreeMap;

use smollm3_collective::Collective;

use crate::backward::MicroLoss;
use crate::{Result, RowOrigin, SourceLoss};

/// Sums over the micro-batches seen so far.
#[derive(Debug, Default)]
pub(crate) struct StepSums {
    /// Their part of the step's loss.
    pub loss: f64,
    /// Squares of the gradients.
    pub squares: f64,
    /// By source.
    pub sources: BTreeMap<usize, SourceLoss>,
    /// What else is recorded, in the order of its names.
    pub observed: Vec<f64>,
}

impl StepSums {
    /// No micro-batch yet, of an objective that records so many numbers beside the loss.
    pub fn new(observed: usize) -> Self {
        Self {
            observed: vec![0.0; observed],
            ..Self::default()
        }
    }

    /// Adds a micro-batch; `targets` are those of the whole step.
    pub fn add(&mut self, micro: MicroLoss, origins: &[RowOrigin], targets: f64) {
        for (total, sum) in self.observed.iter_mut().zip(micro.observed) {
            *total += sum / targets.max(1.0);
        }
        self.loss += micro.part;
        for (origin, sum) in origins.iter().zip(micro.rows) {
            let source = self.sources.entry(origin.source).or_default();
            source.rows += 1;
            source.sum += sum;
            source.targets += origin.targets as u64;
        }
    }

    /// The sums over all ranks, the same bits on each, in one exchange. Each rank has rows of as many sources as `sources`
    /// says.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub fn over(self, ranks: &dyn Collective, sources: &[usize]) -> Result<Self> {
        if ranks.world() == 1 {
            return Ok(self);
        }
        let mut own = vec![self.loss, self.squares];
        own.extend(&self.observed);
        let few = own.len();
        for (index, part) in &self.sources {
            own.extend([*index as f64, part.rows as f64, part.sum, part.targets as f64]);
        }
        // Not every rank has rows of every source.
        let counts: Vec<usize> = sources.iter().map(|sources| few + 4 * sources).collect();
        let mut of_ranks = vec![0.0; counts.iter().sum()];
        let begin: usize = counts.iter().take(ranks.rank()).sum();
        of_ranks[begin..begin + own.len()].copy_from_slice(&own);
        ranks.all_gather_f64(&mut of_ranks, &counts)?;

        let mut sums = Self::new(self.observed.len());
        let mut rest = &of_ranks[..];
        for count in counts {
            let (of_rank, others) = rest.split_at(count);
            let ([loss, squares, observed @ ..], sources) = of_rank.split_at(few) else {
                unreachable!("two numbers come first")
            };
            sums.loss += loss;
            sums.squares += squares;
            for (total, sum) in sums.observed.iter_mut().zip(observed) {
                *total += sum;
            }
            for [index, rows, sum, targets] in sources.as_chunks().0 {
                let source = sums.sources.entry(*index as usize).or_default();
                source.rows += *rows as u64;
                source.sum += sum;
                source.targets += *targets as u64;
            }
            rest = others;
        }
        Ok(sums)
    }
}
