//! What the losses of a step add up to, over micro-batches and over ranks.

use std::collections::BTreeMap;

use smollm3_collective::{Collective, Reduction};

use crate::backward::MicroLoss;
use crate::{Result, RowOrigin, SourceLoss};

/// Losses of the micro-batches seen so far.
#[derive(Debug, Default)]
pub(crate) struct StepSums {
    /// Their part of the step's loss.
    pub loss: f64,
    /// By source.
    pub sources: BTreeMap<usize, SourceLoss>,
    /// What else is recorded.
    pub observed: BTreeMap<&'static str, f64>,
}

impl StepSums {
    /// Adds a micro-batch; `targets` are those of the whole step.
    pub fn add(&mut self, micro: MicroLoss, origins: &[RowOrigin], targets: f64) {
        for (name, sum) in micro.observed {
            *self.observed.entry(name).or_default() += sum / targets.max(1.0);
        }
        self.loss += micro.part;
        for (origin, sum) in origins.iter().zip(micro.rows) {
            let source = self.sources.entry(origin.source).or_default();
            source.rows += 1;
            source.sum += sum;
            source.targets += origin.targets as u64;
        }
    }

    /// The sums over all ranks, the same bits on each.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub fn over(self, ranks: &dyn Collective) -> Result<Self> {
        if ranks.world() == 1 {
            return Ok(self);
        }
        let mut values = vec![self.loss];
        values.extend(self.observed.values());
        ranks.all_reduce_f64(&mut values, Reduction::Sum)?;
        let observed = self.observed.keys().copied().zip(values.iter().skip(1).copied());

        // Not every rank has rows of every source.
        let own: Vec<f64> = self
            .sources
            .iter()
            .flat_map(|(index, part)| [*index as f64, part.rows as f64, part.sum, part.targets as f64])
            .collect();
        let mut sources: BTreeMap<usize, SourceLoss> = BTreeMap::new();
        for of_rank in ranks.all_gather_bytes(bytemuck::cast_slice(&own))? {
            let numbers: Vec<f64> = bytemuck::pod_collect_to_vec(&of_rank);
            for [index, rows, sum, targets] in numbers.as_chunks().0 {
                let source = sources.entry(*index as usize).or_default();
                source.rows += *rows as u64;
                source.sum += sum;
                source.targets += *targets as u64;
            }
        }
        Ok(Self {
            loss: values.first().copied().unwrap_or_default(),
            sources,
            observed: observed.collect(),
        })
    }
}
