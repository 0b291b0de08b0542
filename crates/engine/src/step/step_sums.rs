//! Sums of a step over its micro-batches and over ranks. Losses stay on the device until all of the step's work has been
//! submitted, and are read back together.

use std::collections::BTreeMap;

use smollm3_collective::Collective;

use super::backward::MicroLoss;
use super::global_batch::GlobalBatch;
use super::gradients::read_all;
use super::objective::SourceLoss;
use crate::Result;

/// Numbers that a rank sends after the backward pass: its loss and the squares of its gradients.
pub const STEP_NUMBERS: usize = 2;
/// Numbers of a source, sent with them: its index, rows, sum and targets.
pub const SOURCE_NUMBERS: usize = 4;

/// Sums of a step.
#[derive(Debug, Default)]
pub(crate) struct StepSums {
    /// The loss of the step.
    pub loss: f64,
    /// Squares of the gradients.
    pub squares: f64,
    /// By source.
    pub sources: BTreeMap<usize, SourceLoss>,
    /// The objective's other figures, in the order of their names.
    pub observed: Vec<f64>,
}

impl StepSums {
    /// Reads the losses of this rank's micro-batches and adds them up, then over all ranks, with the `squares` of this rank's
    /// gradients. The objective records `observed` figures with the loss. Waits for the device.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub fn read<M>(
        losses: Vec<MicroLoss<'_>>,
        observed: usize,
        squares: f64,
        batch: &GlobalBatch<'_, M>,
    ) -> Result<Self> {
        let mut sums = Self {
            squares,
            ..Self::new(observed)
        };
        let tensors = losses
            .iter()
            .flat_map(|micro| [micro.part.clone(), micro.losses.clone()]);
        let numbers = read_all(tensors.collect());
        let mut rest = numbers.as_slice();
        let mut take = |count: usize| {
            let (numbers, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = after;
            numbers
        };
        for micro in losses {
            let (part, of_origins) = (take(1), take(micro.losses.dims()[0]));
            sums.add(part, of_origins, micro, batch.targets);
        }
        sums.over_ranks(batch.ranks, &batch.sources)
    }

    /// No micro-batch yet.
    fn new(observed: usize) -> Self {
        Self {
            observed: vec![0.0; observed],
            ..Self::default()
        }
    }

    fn add(&mut self, part: &[f32], losses: &[f32], micro: MicroLoss<'_>, targets: f64) {
        for (total, sum) in self.observed.iter_mut().zip(micro.observed) {
            *total += sum / targets.max(1.0);
        }
        let sum = |losses: &[f32]| losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        self.loss += sum(part);
        let of_row = (losses.len() / micro.origins.len().max(1)).max(1);
        for (origin, losses) in micro.origins.iter().zip(losses.chunks(of_row)) {
            let source = self.sources.entry(origin.source).or_default();
            source.rows += 1;
            source.sum += sum(losses);
            source.targets += origin.targets as u64;
        }
    }

    /// The sums over all ranks, the same bits on each, in one exchange. `sources` is the number of sources that each rank has
    /// rows of.
    fn over_ranks(self, ranks: &dyn Collective, sources: &[usize]) -> Result<Self> {
        if ranks.world() == 1 {
            return Ok(self);
        }
        let numbers: [f64; STEP_NUMBERS] = [self.loss, self.squares];
        let mut own = numbers.to_vec();
        own.extend(&self.observed);
        let few = own.len();
        for (index, part) in &self.sources {
            let numbers: [f64; SOURCE_NUMBERS] =
                [*index as f64, part.rows as f64, part.sum, part.targets as f64];
            own.extend(numbers);
        }
        // Not every rank has rows of every source.
        let counts: Vec<usize> = sources
            .iter()
            .map(|sources| few + SOURCE_NUMBERS * sources)
            .collect();
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
