//! Gradients summed over ranks, of which each rank keeps its part (ZeRO-1: Rajbhandari et al. 2020, arXiv:1910.02054).
//!
//! All parameters are one flat vector in the order of their names. It is summed on the host, in `f64` and in the order of
//! ranks, so that all ranks and all runs have the same bits. Sent and received a step: gradients once and weights once,
//! as one all-reduce. Memory on the host: 4 bytes a parameter while a step is reduced; the weights come back in the
//! vector that the gradients left in.
//!
//! Rejected: a reduction of one parameter at a time, which needs less memory, but sends the whole of most parameters to one
//! rank while the others wait.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use smollm3_collective::{Collective, Layout, Reduction, Shards};

use crate::{AccumulatedGradients, Result};

/// Elements that bounds between ranks are multiples of: a cache line of moments, and of any vector unit.
const ALIGNMENT: usize = 64;

/// The gradients of a step.
pub enum ReducedGradients {
    /// There is one rank: all of them, on the device.
    Whole(AccumulatedGradients),
    /// There are several: those that this rank updates, on the host.
    Shard(Shard),
}

/// All parameters in one vector, in which one range is this rank's.
pub struct Shard {
    layout: Layout,
    shards: Shards,
    rank: usize,
    values: Vec<f32>,
}

/// How `world` ranks divide parameters.
pub(crate) fn shards(layout: &Layout, world: usize) -> Shards {
    Shards::new(layout.total(), world, ALIGNMENT)
}

impl ReducedGradients {
    /// Sums the gradients of all ranks.
    ///
    /// # Errors
    /// A rank that is late or gone, or has other parameters.
    pub fn over(gradients: AccumulatedGradients, ranks: &dyn Collective) -> Result<Self> {
        if ranks.world() == 1 {
            return Ok(Self::Whole(gradients));
        }
        let layout = Layout::new(gradients.lengths())?;
        let shards = shards(&layout, ranks.world());
        let mut values = Vec::with_capacity(layout.total());
        for gradient in gradients.into_values() {
            append(&mut values, gradient);
        }
        ranks.reduce_scatter(&mut values, &shards.counts())?;
        Ok(Self::Shard(Shard {
            layout,
            shards,
            rank: ranks.rank(),
            values,
        }))
    }

    /// The Euclidean norm of all gradients together, the same on all ranks.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub fn global_norm(&self, ranks: &dyn Collective) -> Result<f64> {
        match self {
            Self::Whole(gradients) => Ok(gradients.global_norm()),
            Self::Shard(shard) => {
                let own = shard.values[shard.shards.range(shard.rank)].iter();
                let mut squares = [own.map(|value| f64::from(*value).powi(2)).sum()];
                ranks.all_reduce_f64(&mut squares, Reduction::Sum)?;
                Ok(squares[0].sqrt())
            }
        }
    }
}

impl Shard {
    /// Which elements of a parameter are this rank's, if any are, and how many it has.
    pub(crate) fn own(&self, name: &str) -> Option<(Range<usize>, usize)> {
        let own = self.shards.range(self.rank);
        let place = self.place(name)?;
        let both = own.start.max(place.start)..own.end.min(place.end);
        (!both.is_empty()).then(|| (both.start - place.start..both.end - place.start, place.len()))
    }

    /// Where a parameter lies in the vector.
    fn place(&self, name: &str) -> Option<Range<usize>> {
        let found = self.layout.parameters().find(|(other, _)| *other == name);
        found.map(|(_, place)| place)
    }

    /// Gradients of some elements of a parameter, on a device.
    pub(crate) fn gradient(&self, name: &str, elements: &Range<usize>, device: &Device) -> Option<Tensor<1>> {
        let part = self.values.get(self.place(name)?)?.get(elements.clone())?;
        let data = TensorData::new(part.to_vec(), [part.len()]);
        Some(Tensor::from_data(data, device))
    }

    /// Puts new weights in the place of the gradients they were made of.
    pub(crate) fn replace(&mut self, name: &str, elements: &Range<usize>, weights: Tensor<1>) {
        let place = self.place(name).unwrap_or_default();
        let mut part = Vec::with_capacity(elements.len());
        append(&mut part, weights);
        let into = self
            .values
            .get_mut(place)
            .and_then(|whole| whole.get_mut(elements.clone()));
        if let Some(into) = into {
            into.copy_from_slice(&part);
        }
    }

    /// Fetches the weights of the other ranks.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub(crate) fn gather(&mut self, ranks: &dyn Collective) -> Result<()> {
        Ok(ranks.all_gather(&mut self.values, &self.shards.counts())?)
    }

    /// The whole of a parameter, if it is one that is trained.
    pub(crate) fn parameter(&self, name: &str) -> Option<&[f32]> {
        self.values.get(self.place(name)?)
    }
}

fn append(values: &mut Vec<f32>, tensor: Tensor<1>) {
    let data = tensor.into_data();
    match data.as_slice::<f32>() {
        Ok(slice) => values.extend_from_slice(slice),
        Err(_) => values.extend(data.iter::<f32>()),
    }
}
