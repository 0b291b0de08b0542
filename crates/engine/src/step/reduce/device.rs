//! Reduce-scatter and all-gather in device memory.

use std::collections::VecDeque;

use burn::tensor::{Device, Tensor};
use smollm3_collective::{Begun, DeviceCollective, DeviceValues};
use smollm3_kernels::addressed;

use super::buckets::{Bucket, Buckets};
use super::gradient_sink::SendBucket;
use super::{IN_FLIGHT, ShardSums};
use crate::{EngineError, Result};

/// Values of an operation in flight, which must be kept until it has been waited for.
struct Pending {
    values: Tensor<1>,
    begun: Begun,
}

/// Sums what `work` sends while the device computes on.
pub(super) fn reduce_scatter<T>(
    devices: &dyn DeviceCollective,
    rank: usize,
    buckets: &Buckets,
    work: impl FnOnce(SendBucket<'_>) -> T,
) -> Result<(T, Vec<Option<Tensor<1>>>)> {
    let mut sums = ShardSums::new(buckets, rank);
    let mut pending = VecDeque::new();
    let mut take = |(index, sum): (usize, Pending)| -> Result<()> {
        devices.wait(sum.begun)?;
        sums.add(index, |own| sum.values.slice([own]));
        Ok(())
    };
    let mut outcome = Ok(());
    let done = work(&mut |index, values| {
        let Some(bucket) = buckets.get(index).filter(|_| outcome.is_ok()) else {
            return;
        };
        outcome = begin_reduce_scatter(devices, bucket, values).and_then(|sum| {
            pending.push_back((index, sum));
            match pending.len() > IN_FLIGHT {
                true => pending.pop_front().map_or(Ok(()), &mut take),
                false => Ok(()),
            }
        });
    });
    // Every operation in flight is waited for before its memory is freed, whatever failed after it.
    for sum in pending {
        outcome = outcome.and(take(sum));
    }
    outcome?;
    Ok((done, sums.shards))
}

/// The weights of all ranks of a bucket, from this rank's.
pub(super) fn all_gather(
    devices: &dyn DeviceCollective,
    rank: usize,
    bucket: &Bucket,
    own: Option<Tensor<1>>,
    device: &Device,
) -> Result<Tensor<1>> {
    let (shard, all) = (
        bucket.shards.longest(),
        bucket.shards.longest() * bucket.shards.world(),
    );
    let before = (rank * shard).min(all);
    let after = all - before - own.as_ref().map_or(0, |own| own.dims()[0]);
    let parts = [zeros(before, device), own, zeros(after, device)];
    let values = Tensor::cat(parts.into_iter().flatten().collect(), 0);
    let (values, place) = placed(values, shard)?;
    // SAFETY: the values have no other owner, and the next line waits for the operation.
    let begun = unsafe { devices.all_gather(place) }?;
    devices.wait(begun)?;
    Ok(values.narrow(0, 0, bucket.shards.total()))
}

fn begin_reduce_scatter(
    devices: &dyn DeviceCollective,
    bucket: &Bucket,
    values: Tensor<1>,
) -> Result<Pending> {
    let (shard, world) = (bucket.shards.longest(), bucket.shards.world());
    let missing = zeros(shard * world - values.dims()[0], &values.device());
    let values = match missing {
        None => values,
        Some(missing) => Tensor::cat(vec![values, missing], 0),
    };
    let (values, place) = placed(values, shard)?;
    // SAFETY: the values have no other owner, and `Pending` keeps them until the operation was waited for.
    let begun = unsafe { devices.reduce_scatter(place) }?;
    Ok(Pending { values, begun })
}

fn zeros(count: usize, device: &Device) -> Option<Tensor<1>> {
    (count > 0).then(|| Tensor::zeros([count], device))
}

fn placed(values: Tensor<1>, shard: usize) -> Result<(Tensor<1>, DeviceValues)> {
    let (values, address) = addressed(values).ok_or_else(|| {
        EngineError::Refused(
            "sums between devices need LibTorch's tensors; write backend = \"tch\"".to_owned(),
        )
    })?;
    Ok((values, DeviceValues { address, shard }))
}
