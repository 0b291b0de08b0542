//! The operations that ranks share.
//!
//! An implementation brings one of them, [`Collective::exchange`]: every rank has a message for every other. All others are
//! made of it here, for three reasons. Sums come out in the same bits on every rank, in every run, over every
//! implementation, because the order of additions is ours and not that of a library that picks an algorithm by size and
//! topology. A rank hears from each other rank directly, so one that is late is known by name. And there is one thing to get
//! right in each implementation.
//!
//! A sum is a reduce-scatter by hand: each rank is sent its shard by all others and adds them up in the order of ranks; then
//! all gather the sums. Every element is added up on one rank only, so all have the same bits. Shards go in pieces of
//! [`PIECE`] elements, which bounds the memory for what has arrived to `world` pieces and keeps them in the processor's cache
//! while they are added. A broadcast is a scatter and an all-gather: two times the data on every link instead of `world - 1`
//! times on the root's.
//!
//! Cost: each rank sends and receives `(world - 1) / world` of the data in a reduce-scatter or an all-gather, which
//! is the least possible, in `world - 1` messages, where a ring would have the same and a tree fewer.
//!
//! Ranks have to call the same operations in the same order with matching lengths.

use std::ops::Range;
use std::time::Duration;

use bytemuck::{Pod, cast_slice, cast_slice_mut};

use crate::reduction::{Reduction, sum_in_rank_order};
use crate::{CollectiveError, DeviceCollective, Meter, Result, Shards, Traffic};

/// Elements of a shard that are exchanged and summed at once.
pub const PIECE: usize = 1 << 16;

/// One rank of a job, and how it reaches the others.
///
/// Every operation fails with [`Late`](crate::CollectiveError::Late) when a rank does not arrive within
/// [`time_limit`](Self::time_limit), and with [`Ended`](crate::CollectiveError::Ended) when one is gone. Where ranks
/// are processes the job is ended instead, after a message on standard error.
pub trait Collective: Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world(&self) -> usize;

    /// Where a rank runs, for messages: its host and process, or its thread.
    fn place(&self, rank: usize) -> String;

    /// How long an operation waits for a rank.
    fn time_limit(&self) -> Duration;

    /// Counts operations, their time and bytes.
    fn meter(&self) -> &Meter;

    /// Sends `send[r]` to rank r and fills `receive[r]` with what rank r sends here; the entries of this rank are left
    /// alone. Messages of no bytes are sent too, so no rank leaves before all have come.
    ///
    /// Both have `world` entries, and `receive[r]` is as long as what rank r sends.
    ///
    /// # Errors
    /// A rank that is late or gone, or a message of another length; `operation` is for their text.
    fn exchange(
        &self,
        operation: &'static str,
        limit: Duration,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> Result<()>;

    /// Ends the job well: waits until all ranks have come here. Without it the end of a rank is the end of the job.
    ///
    /// # Errors
    /// A rank that is late or gone.
    fn finish(&self) -> Result<()>;

    /// Ends the job on all ranks, for a reason that only this one has. Where ranks are processes this does not return.
    fn abort(&self, reason: &str);

    /// The collective between the ranks' devices, if there is one: gradients and weights then do not pass through host memory.
    fn device_collective(&self) -> Option<&dyn DeviceCollective> {
        None
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// See the trait.
    fn barrier(&self) -> Result<()> {
        self.barrier_within(self.time_limit())
    }

    /// [`barrier`](Self::barrier) with another time limit, for work that one rank does while the others wait.
    ///
    /// # Errors
    /// See the trait.
    fn barrier_within(&self, limit: Duration) -> Result<()> {
        self.meter().time(|| {
            let send = vec![&[][..]; self.world()];
            let receive = split::<u8>(&mut [], &vec![0; self.world()]);
            exchange(self, "barrier", limit, &send, receive)
        })
    }

    /// Sums each element over all ranks, in place: in `f64`, in the order of ranks, rounded once.
    ///
    /// # Errors
    /// See the trait.
    fn all_reduce(&self, values: &mut [f32]) -> Result<()> {
        let counts = Shards::new(values.len(), self.world(), 1).counts();
        self.meter().time(|| {
            reduce_scatter(self, "all_reduce", values, &counts)?;
            all_gather(self, "all_reduce", values, &counts)
        })
    }

    /// Reduces a few numbers (losses, norms, flags) over all ranks, in place and in the order of ranks. Each rank sends
    /// all of them to each other.
    ///
    /// # Errors
    /// See the trait.
    fn all_reduce_f64(&self, values: &mut [f64], reduction: Reduction) -> Result<()> {
        let (count, world) = (values.len(), self.world());
        let mut of_ranks = values.repeat(world);
        self.meter()
            .time(|| all_gather(self, "all_reduce", &mut of_ranks, &vec![count; world]))?;
        for (index, value) in values.iter_mut().enumerate() {
            let one_a_rank = of_ranks.iter().skip(index).step_by(count).copied();
            *value = one_a_rank.reduce(|a, b| reduction.apply(a, b)).unwrap_or(*value);
        }
        Ok(())
    }

    /// Sums each element over all ranks and leaves each rank its shard: `counts[r]` elements for rank r, one after
    /// another. This rank's shard of `values` becomes the sum, to the bits of [`all_reduce`](Self::all_reduce); the
    /// rest stays as it was.
    ///
    /// # Errors
    /// Counts that are not one a rank or do not sum to the length of `values`; see the trait.
    fn reduce_scatter(&self, values: &mut [f32], counts: &[usize]) -> Result<()> {
        self.meter()
            .time(|| reduce_scatter(self, "reduce_scatter", values, counts))
    }

    /// Fills the shards of the other ranks in `values` with theirs; `counts` as in
    /// [`reduce_scatter`](Self::reduce_scatter).
    ///
    /// # Errors
    /// Counts that are not one a rank or do not sum to the length of `values`; see the trait.
    fn all_gather(&self, values: &mut [f32], counts: &[usize]) -> Result<()> {
        self.meter()
            .time(|| all_gather(self, "all_gather", values, counts))
    }

    /// Gathers a few numbers (losses, counts, flags) of all ranks in one exchange: `counts[r]` numbers of rank r, one
    /// rank after another in `values`, where this rank's are already in place.
    ///
    /// # Errors
    /// Counts that are not one a rank or do not sum to the length of `values`; see the trait.
    fn all_gather_f64(&self, values: &mut [f64], counts: &[usize]) -> Result<()> {
        self.meter()
            .time(|| all_gather(self, "all_gather_f64", values, counts))
    }

    /// The bytes of every rank, in the order of ranks; they need not be equally many.
    ///
    /// # Errors
    /// See the trait.
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        const NAME: &str = "all_gather_bytes";
        self.meter().time(|| {
            let mut counts = vec![bytes.len() as u64; self.world()];
            all_gather(self, NAME, &mut counts, &vec![1; self.world()])?;
            let mut of_ranks: Vec<Vec<u8>> = counts.iter().map(|&count| vec![0; count as usize]).collect();
            let receive = of_ranks.iter_mut().map(Vec::as_mut_slice).collect();
            let send = vec![bytes; self.world()];
            exchange(self, NAME, self.time_limit(), &send, receive)?;
            bytes.clone_into(&mut of_ranks[self.rank()]);
            Ok(of_ranks)
        })
    }

    /// Copies the values of rank `root` to all.
    ///
    /// # Errors
    /// A root that is no rank; see the trait.
    fn broadcast(&self, values: &mut [f32], root: usize) -> Result<()> {
        self.meter()
            .time(|| broadcast(self, cast_slice_mut(values), root))
    }

    /// The bytes of rank `root`; those of the others are ignored.
    ///
    /// # Errors
    /// A root that is no rank; see the trait.
    fn broadcast_bytes(&self, mut bytes: Vec<u8>, root: usize) -> Result<Vec<u8>> {
        self.meter().time(|| {
            let mut count = [bytes.len() as u64];
            broadcast(self, cast_slice_mut(&mut count), root)?;
            bytes.resize(count[0] as usize, 0);
            broadcast(self, &mut bytes, root)?;
            Ok(bytes)
        })
    }

    /// What operations have cost this rank so far.
    fn traffic(&self) -> Traffic {
        self.meter().traffic()
    }
}

fn reduce_scatter<C: Collective + ?Sized>(
    ranks: &C,
    operation: &'static str,
    values: &mut [f32],
    counts: &[usize],
) -> Result<()> {
    check(ranks, operation, values.len(), counts)?;
    if ranks.world() == 1 {
        return Ok(());
    }
    let shards = Shards::from_counts(counts);
    let longest = counts.iter().copied().max().unwrap_or(0);
    let mut arrived = Vec::new();
    for from in (0..longest).step_by(PIECE) {
        let piece = |rank: usize| -> Range<usize> {
            let shard = shards.range(rank);
            (shard.start + from).min(shard.end)..(shard.start + from + PIECE).min(shard.end)
        };
        let own = piece(ranks.rank());
        let expected: Vec<usize> = (0..ranks.world())
            .map(|rank| if rank == ranks.rank() { 0 } else { own.len() })
            .collect();
        arrived.resize(own.len() * (ranks.world() - 1), 0f32);
        let send: Vec<&[u8]> = (0..ranks.world())
            .map(|rank| cast_slice(&values[piece(rank)]))
            .collect();
        exchange(
            ranks,
            operation,
            ranks.time_limit(),
            &send,
            split(&mut arrived, &expected),
        )?;
        sum_in_rank_order(&mut values[own], ranks.rank(), &arrived);
    }
    Ok(())
}

fn all_gather<C: Collective + ?Sized, T: Pod>(
    ranks: &C,
    operation: &'static str,
    values: &mut [T],
    counts: &[usize],
) -> Result<()> {
    check(ranks, operation, values.len(), counts)?;
    let mut receive = split(values, counts);
    let own: &mut [u8] = std::mem::take(&mut receive[ranks.rank()]);
    let own: &[u8] = own;
    exchange(
        ranks,
        operation,
        ranks.time_limit(),
        &vec![own; ranks.world()],
        receive,
    )
}

fn broadcast<C: Collective + ?Sized>(ranks: &C, values: &mut [u8], root: usize) -> Result<()> {
    const NAME: &str = "broadcast";
    if root >= ranks.world() {
        return Err(CollectiveError::NoSuchRank {
            operation: NAME,
            rank: root,
            world: ranks.world(),
        });
    }
    let shards = Shards::new(values.len(), ranks.world(), 1);
    let counts = shards.counts();
    let own = shards.range(ranks.rank());
    let mut arrived = vec![0; own.len()];
    let is_root = ranks.rank() == root;
    let send: Vec<&[u8]> = (0..ranks.world())
        .map(|rank| if is_root { &values[shards.range(rank)] } else { &[] })
        .collect();
    let expected: Vec<usize> = (0..ranks.world())
        .map(|rank| if rank == root && !is_root { own.len() } else { 0 })
        .collect();
    exchange(
        ranks,
        NAME,
        ranks.time_limit(),
        &send,
        split(&mut arrived, &expected),
    )?;
    if !is_root {
        values[own].copy_from_slice(&arrived);
    }
    all_gather(ranks, NAME, values, &counts)
}

/// An exchange that is counted; none where there is one rank.
fn exchange<C: Collective + ?Sized>(
    ranks: &C,
    operation: &'static str,
    limit: Duration,
    send: &[&[u8]],
    mut receive: Vec<&mut [u8]>,
) -> Result<()> {
    if ranks.world() == 1 {
        return Ok(());
    }
    ranks.meter().count(ranks.rank(), send, &receive);
    ranks.exchange(operation, limit, send, &mut receive)
}

/// One slice a rank, as bytes.
fn split<'a, T: Pod>(mut values: &'a mut [T], counts: &[usize]) -> Vec<&'a mut [u8]> {
    counts
        .iter()
        .map(|&count| {
            let (head, tail) = std::mem::take(&mut values).split_at_mut(count);
            values = tail;
            cast_slice_mut(head)
        })
        .collect()
}

fn check<C: Collective + ?Sized>(
    ranks: &C,
    operation: &'static str,
    length: usize,
    counts: &[usize],
) -> Result<()> {
    let sum = counts
        .iter()
        .try_fold(0usize, |sum, &count| sum.checked_add(count));
    if counts.len() != ranks.world() || sum != Some(length) {
        return Err(CollectiveError::Counts {
            operation,
            world: ranks.world(),
            length,
            counts: counts.to_vec(),
        });
    }
    Ok(())
}
