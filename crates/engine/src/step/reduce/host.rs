//! Reduce-scatter and all-gather in host memory: in `f64` and in the order of ranks, so that all ranks and all runs have the same
//! bits.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use smollm3_collective::Collective;

use super::buckets::{Bucket, Buckets};
use super::gradient_sink::SendBucket;
use super::{IN_FLIGHT, ShardSums};
use crate::Result;

/// Sums what `work` sends, on another thread.
pub(super) fn reduce_scatter<T>(
    ranks: &dyn Collective,
    buckets: &Buckets,
    work: impl FnOnce(SendBucket<'_>) -> T,
) -> Result<(T, Vec<Option<Tensor<1>>>)> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<(usize, Tensor<1>)>(IN_FLIGHT - 1);
        let summing = scope.spawn(move || -> Result<_> {
            let mut sums = ShardSums::new(buckets, ranks.rank());
            let mut busy = Duration::ZERO;
            for (index, values) in receiver {
                let Some(bucket) = buckets.get(index) else {
                    continue;
                };
                let device = values.device();
                let mut values = to_host(values);
                let begin = Instant::now();
                ranks.reduce_scatter(&mut values, &bucket.shards.counts())?;
                busy += begin.elapsed();
                sums.add(index, |own| {
                    from_host(values.get(own).unwrap_or_default().to_vec(), &device)
                });
            }
            Ok((sums.shards, busy))
        });
        let mut waited = Duration::ZERO;
        let done = work(&mut |index, values| {
            let begin = Instant::now();
            // If the thread has ended, its error is returned below.
            drop(sender.send((index, values)));
            waited += begin.elapsed();
        });
        drop(sender);
        let begin = Instant::now();
        let summed = summing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        waited += begin.elapsed();
        let (shards, busy) = summed?;
        ranks.meter().hide(busy.saturating_sub(waited));
        Ok((done, shards))
    })
}

/// The weights of all ranks of a bucket, from this rank's.
pub(super) fn all_gather(
    ranks: &dyn Collective,
    bucket: &Bucket,
    own: Option<Tensor<1>>,
    device: &Device,
) -> Result<Tensor<1>> {
    let mut values = vec![0f32; bucket.shards.total()];
    if let (Some(own), Some(into)) = (own, values.get_mut(bucket.shards.range(ranks.rank()))) {
        into.copy_from_slice(&to_host(own));
    }
    ranks.all_gather(&mut values, &bucket.shards.counts())?;
    Ok(from_host(values, device))
}

fn to_host(tensor: Tensor<1>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_into_vec()
        .unwrap_or_else(|_| unreachable!("gradients and weights are summed in f32"))
}

fn from_host(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
