//! What the losses and gradients of a step add up to, over micro-batches and over ranks. Losses stay on the device until
//! all of the step's work has been given to it, and are read back together.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use smollm3_collective::Collective;
use smollm3_kernels::read_back;

use crate::backward::MicroLoss;
use crate::{Result, RowOrigin, SourceLoss};

/// Losses of the micro-batches of a step, each with where its rows are counted.
#[derive(Default)]
pub(crate) struct StepLosses<'b>(Vec<(MicroLoss, &'b [RowOrigin])>);

impl<'b> StepLosses<'b> {
    /// Adds a micro-batch.
    pub fn push(&mut self, micro: MicroLoss, origins: &'b [RowOrigin]) {
        self.0.push((micro, origins));
    }

    /// Reads them all, and adds them up, of an objective that records `observed` numbers beside the loss; `targets` are
    /// those of the whole step. Waits for the device.
    pub fn sums(self, observed: usize, targets: f64) -> StepSums {
        let mut sums = StepSums::new(observed);
        let tensors = self
            .0
            .iter()
            .flat_map(|(micro, _)| [micro.part.clone(), micro.losses.clone()]);
        let tensors: Vec<Tensor<1>> = tensors.collect();
        if tensors.is_empty() {
            return sums;
        }
        let lengths: Vec<usize> = tensors.iter().map(|tensor| tensor.dims()[0]).collect();
        let numbers = read_back(Tensor::cat(tensors, 0));
        let mut rest = numbers.as_slice();
        let mut read = lengths.into_iter().map(|length| {
            let (numbers, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            numbers
        });
        for (micro, origins) in self.0 {
            let (part, losses) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
            sums.add(part, losses, micro.observed, origins, targets);
        }
        sums
    }
}

/// Numbers that a rank sends after the backward pass: its loss and the squares of its gradients.
pub const STEP_NUMBERS: usize = 2;
/// Numbers of a source, sent with them: its index, rows, sum and targets.
pub const SOURCE_NUMBERS: usize = 4;

/// What the losses add up to.
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

    fn add(&mut self, part: &[f32], losses: &[f32], observed: Vec<f64>, origins: &[RowOrigin], targets: f64) {
        for (total, sum) in self.observed.iter_mut().zip(observed) {
            *total += sum / targets.max(1.0);
        }
        let sum = |losses: &[f32]| losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        self.loss += sum(part);
        let of_row = (losses.len() / origins.len().max(1)).max(1);
        for (origin, losses) in origins.iter().zip(losses.chunks(of_row)) {
            let source = self.sources.entry(origin.source).or_default();
            source.rows += 1;
            source.sum += sum(losses);
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
