//! Gradients summed over ranks while the backward pass goes on, of which each rank keeps its part.
//!
//! ```text
//! backward ── gradients of a layer ── Outgoing ── a bucket ── over the hosts, or between devices
//!                                                                    │
//!                        new weights of all ◄── gather ◄── AdamW ◄── this rank's part
//! ```
//!
//! At most [`IN_FLIGHT`] buckets are on their way, which bounds the memory that they take beside the gradients.

mod between_devices;
mod buckets;
mod outgoing;
mod over_hosts;

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, Tensor};
use smollm3_collective::Collective;
use smollm3_kernels::{read_back, total};
use smollm3_model::SmolLm3;
use smollm3_recipe::Sharding;

use crate::{AccumulatedGradients, Result};
pub use buckets::SHARD_ALIGNMENT;
pub(crate) use buckets::{Bucket, Buckets};
pub(crate) use outgoing::Outgoing;
use outgoing::Send;

/// Buckets that are summed at once, or wait for it.
const IN_FLIGHT: usize = 2;

/// The gradients of a step.
pub enum ReducedGradients {
    /// There is one rank: all of them.
    Whole(AccumulatedGradients),
    /// There are several: those that this rank updates.
    Parts(Parts),
}

/// This rank's part of every bucket.
pub struct Parts {
    pub(crate) buckets: Buckets,
    rank: usize,
    /// A flat tensor a bucket; none where it is too small for this rank to have any of it.
    values: Vec<Option<Tensor<1>>>,
}

impl ReducedGradients {
    /// Sums over all ranks what `work` leaves. On all ranks it has to end equally many micro-batches with buckets open.
    ///
    /// # Errors
    /// A rank that is late or gone, or has other parameters.
    pub(crate) fn of<T>(
        model: &SmolLm3,
        sharding: Sharding,
        ranks: &dyn Collective,
        work: impl FnOnce(&mut Outgoing<'_>) -> T,
    ) -> Result<(T, Self)> {
        if ranks.world() == 1 {
            let mut outgoing = Outgoing::alone();
            let done = work(&mut outgoing);
            return Ok((done, Self::Whole(outgoing.gradients)));
        }
        let buckets = Buckets::of_model(model, ranks.world())?;
        let device = model.head().device().inner();
        let work = |send: Send<'_>| work(&mut Outgoing::to(send, &buckets, sharding, &device));
        let (done, values) = match ranks.between_devices() {
            Some(devices) => between_devices::sums(devices, ranks.rank(), &buckets, work)?,
            None => over_hosts::sums(ranks, &buckets, work)?,
        };
        let parts = Parts {
            buckets,
            rank: ranks.rank(),
            values,
        };
        Ok((done, Self::Parts(parts)))
    }

    /// The sum of the squares of those that this rank has. Waits for the device.
    pub fn squares(&self) -> f64 {
        let parts = match self {
            Self::Whole(gradients) => return gradients.squares(),
            Self::Parts(parts) => parts,
        };
        let squares = |values: &Tensor<1>| total(values.clone().square());
        let squares: Vec<Tensor<1>> = parts.values.iter().flatten().map(squares).collect();
        match squares.is_empty() {
            true => 0.0,
            false => read_back(Tensor::cat(squares, 0))
                .into_iter()
                .map(f64::from)
                .sum(),
        }
    }
}

impl Parts {
    /// Which elements of a parameter are this rank's, if any are, with their gradient.
    pub(crate) fn own(&self, name: &str) -> Option<(Range<usize>, Tensor<1>)> {
        let index = self.buckets.index_of(name)?;
        let (bucket, values) = (self.buckets.get(index)?, self.values.get(index)?.as_ref()?);
        let (own, place) = (bucket.shards.range(self.rank), bucket.place(name)?);
        let both = own.start.max(place.start)..own.end.min(place.end);
        (!both.is_empty()).then(|| {
            let gradient = values.clone().narrow(0, both.start - own.start, both.len());
            (both.start - place.start..both.end - place.start, gradient)
        })
    }

    /// The weights of all ranks of a bucket, one parameter after another, from this rank's by name.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub(crate) fn gather(
        &self,
        bucket: &Bucket,
        weights: &mut BTreeMap<String, Tensor<1>>,
        device: &Device,
        ranks: &dyn Collective,
    ) -> Result<Tensor<1>> {
        let pieces = bucket.layout.pieces(&bucket.shards.range(self.rank));
        let own: Vec<Tensor<1>> = pieces
            .iter()
            .filter_map(|piece| weights.remove(piece.name))
            .collect();
        let own = (!own.is_empty()).then(|| Tensor::cat(own, 0));
        match ranks.between_devices() {
            Some(devices) => between_devices::gather(devices, self.rank, bucket, own, device),
            None => over_hosts::gather(ranks, bucket, own, device),
        }
    }
}

/// This rank's parts of buckets, added up as they come.
struct Sums<'b> {
    buckets: &'b Buckets,
    rank: usize,
    parts: Vec<Option<Tensor<1>>>,
}

impl<'b> Sums<'b> {
    fn new(buckets: &'b Buckets, rank: usize) -> Self {
        Self {
            buckets,
            rank,
            parts: vec![None; buckets.count()],
        }
    }

    /// Adds a bucket that has been summed over ranks, this rank's part of it at least.
    fn add(&mut self, index: usize, values: impl FnOnce(Range<usize>) -> Tensor<1>) {
        let own = self
            .buckets
            .get(index)
            .map(|bucket| bucket.shards.range(self.rank));
        let Some((own, part)) = own.filter(|own| !own.is_empty()).zip(self.parts.get_mut(index)) else {
            return;
        };
        let values = values(own);
        // A sum of its own in any case, so that the bucket does not stay in memory for a part.
        let before = part.take().unwrap_or_else(|| values.zeros_like());
        *part = Some(before + values);
    }
}
