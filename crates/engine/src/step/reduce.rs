//! Gradients summed over ranks during the backward pass; each rank keeps its shard.
//!
//! ```text
//! backward ── gradients of a layer ── GradientSink ── a bucket ── reduce-scatter, on hosts or devices
//!                                                                        │
//!                        new weights of all ◄── all-gather ◄── AdamW ◄── this rank's shard
//! ```
//!
//! At most [`IN_FLIGHT`] buckets are in flight, which bounds the memory that they take in addition to the gradients.

mod buckets;
mod device;
mod gradient_sink;
mod host;

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, Tensor};
use smollm3_collective::Collective;
use smollm3_kernels::total;
use smollm3_model::SmolLm3;
use smollm3_recipe::Sharding;

use super::global_batch::GlobalBatch;
use super::gradients::{AccumulatedGradients, read_all};
use crate::Result;
pub use buckets::SHARD_ALIGNMENT;
pub(crate) use buckets::{Bucket, Buckets};
pub(crate) use gradient_sink::GradientSink;
use gradient_sink::SendBucket;

/// Maximum number of buckets in flight.
const IN_FLIGHT: usize = 2;

/// The gradients of a step.
pub(crate) enum ReducedGradients<'b> {
    /// There is one rank: all of them.
    Whole(AccumulatedGradients),
    /// There are several: those that this rank updates.
    Shards(GradientShards<'b>),
}

/// This rank's shard of every bucket.
pub(crate) struct GradientShards<'b> {
    pub buckets: Buckets,
    ranks: &'b dyn Collective,
    /// One flat tensor per bucket; `None` where the bucket is too small for this rank to own a part.
    values: Vec<Option<Tensor<1>>>,
}

/// Calls `backward` for each of this rank's micro-batches and sums the gradients that it puts into the sink. Returns what
/// `backward` returned, and the sums over all ranks.
///
/// # Errors
/// More parameters than can be counted; a rank that is late or gone, or has other parameters.
pub(crate) fn reduce_gradients<'b, M, L>(
    model: &SmolLm3,
    batch: &'b GlobalBatch<'b, M>,
    sharding: Sharding,
    backward: impl FnMut(&'b M, &mut GradientSink<'_>) -> L,
) -> Result<(Vec<L>, ReducedGradients<'b>)> {
    let ranks = batch.ranks;
    if ranks.world() == 1 {
        let mut sink = GradientSink::default();
        let losses = micro_batches(batch, sharding, &mut sink, backward);
        return Ok((losses, ReducedGradients::Whole(sink.gradients)));
    }
    let buckets = Buckets::of_model(model, ranks.world())?;
    let device = model.head().device().inner();
    let work = |send: SendBucket<'_>| {
        let mut sink = GradientSink::of(send, &buckets, sharding, &device);
        micro_batches(batch, sharding, &mut sink, backward)
    };
    let (losses, values) = match ranks.device_collective() {
        Some(devices) => device::reduce_scatter(devices, ranks.rank(), &buckets, work)?,
        None => host::reduce_scatter(ranks, &buckets, work)?,
    };
    let shards = GradientShards {
        buckets,
        ranks,
        values,
    };
    Ok((losses, ReducedGradients::Shards(shards)))
}

/// Runs `backward` on each micro-batch. Every rank sends its buckets equally often: after its last micro-batch or, where
/// gradients are sharded, after each.
fn micro_batches<'b, M, L>(
    batch: &GlobalBatch<'b, M>,
    sharding: Sharding,
    sink: &mut GradientSink<'_>,
    mut backward: impl FnMut(&'b M, &mut GradientSink<'_>) -> L,
) -> Vec<L> {
    let own = batch.micro_batches.len();
    let rounds = match sharding {
        Sharding::Optimizer => 1,
        Sharding::Gradients => batch.most,
    };
    let mut losses = Vec::with_capacity(own);
    for (index, micro_batch) in batch.micro_batches.iter().enumerate() {
        sink.begin(index + 1 == own);
        losses.push(backward(micro_batch, sink));
        sink.end();
    }
    // Other ranks may have more micro-batches.
    for _ in own..rounds {
        sink.begin(true);
        sink.end();
    }
    losses
}

impl ReducedGradients<'_> {
    /// The sum of the squares of this rank's gradients. Waits for the device.
    pub fn squares(&self) -> f64 {
        let shards = match self {
            Self::Whole(gradients) => return gradients.squares(),
            Self::Shards(shards) => shards,
        };
        let squares = |values: &Tensor<1>| total(values.clone().square());
        let squares = shards.values.iter().flatten().map(squares).collect();
        read_all(squares).into_iter().map(f64::from).sum()
    }
}

impl GradientShards<'_> {
    /// Which elements of a parameter are in this rank's shard, if any are, with their gradient.
    pub fn own(&self, name: &str) -> Option<(Range<usize>, Tensor<1>)> {
        let index = self.buckets.index_of(name)?;
        let (bucket, values) = (self.buckets.get(index)?, self.values.get(index)?.as_ref()?);
        let (own, place) = (bucket.shards.range(self.ranks.rank()), bucket.place(name)?);
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
    pub fn all_gather(
        &self,
        bucket: &Bucket,
        weights: &mut BTreeMap<String, Tensor<1>>,
        device: &Device,
    ) -> Result<Tensor<1>> {
        let rank = self.ranks.rank();
        let pieces = bucket.layout.pieces(&bucket.shards.range(rank));
        let own: Vec<Tensor<1>> = pieces
            .iter()
            .filter_map(|piece| weights.remove(piece.name))
            .collect();
        let own = (!own.is_empty()).then(|| Tensor::cat(own, 0));
        match self.ranks.device_collective() {
            Some(devices) => device::all_gather(devices, rank, bucket, own, device),
            None => host::all_gather(self.ranks, bucket, own, device),
        }
    }
}

/// This rank's shards of buckets, summed as they come.
struct ShardSums<'b> {
    buckets: &'b Buckets,
    rank: usize,
    shards: Vec<Option<Tensor<1>>>,
}

impl<'b> ShardSums<'b> {
    fn new(buckets: &'b Buckets, rank: usize) -> Self {
        Self {
            buckets,
            rank,
            shards: vec![None; buckets.count()],
        }
    }

    /// Adds a bucket that has been summed over ranks, this rank's shard of it at least.
    fn add(&mut self, index: usize, values: impl FnOnce(Range<usize>) -> Tensor<1>) {
        let own = self
            .buckets
            .get(index)
            .map(|bucket| bucket.shards.range(self.rank));
        let Some((own, shard)) = own.filter(|own| !own.is_empty()).zip(self.shards.get_mut(index)) else {
            return;
        };
        let values = values(own);
        // Always a new tensor, so that the shard does not keep the whole bucket in memory.
        let before = shard.take().unwrap_or_else(|| values.zeros_like());
        *shard = Some(before + values);
    }
}
