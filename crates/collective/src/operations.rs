//! All operations, made of exchanges.
//!
//! A sum is a reduce-scatter by hand: each rank is sent its shard by all others, adds them up in the order of ranks,
//! and all gather the sums. Every element is added up on one rank only, so all have the same bits. The shards go in
//! pieces of `PIECE` elements, which bounds the memory for what has arrived to `world` pieces and keeps them in the
//! processor's cache while they are added.
//!
//! A broadcast is a scatter and an all-gather: two times the data on every link instead of `world - 1` times on the
//! root's.

use std::ops::Range;
use std::time::Duration;

use bytemuck::{Pod, cast_slice, cast_slice_mut};

use crate::reduction::{Reduction, sum_in_rank_order};
use crate::{CollectiveError, Meter, Result, Shards};

/// Elements of a shard that are exchanged and summed at once.
pub const PIECE: usize = 1 << 16;

/// What operations are made of. Every [`Collective`](crate::Collective) has it.
pub trait Exchange {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world(&self) -> usize;

    /// How long an operation waits for a rank.
    fn time_limit(&self) -> Duration;

    /// What is counted of operations.
    fn meter(&self) -> &Meter;

    /// Sends a message to each other rank, and has one of each.
    fn exchange(
        &self,
        operation: &'static str,
        limit: Duration,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> Result<()>;
}

pub fn barrier<C: Exchange + ?Sized>(ranks: &C, limit: Duration) -> Result<()> {
    let send = vec![&[][..]; ranks.world()];
    let receive = split::<u8>(&mut [], &vec![0; ranks.world()]);
    exchange(ranks, "barrier", limit, &send, receive)
}

pub fn all_reduce<C: Exchange + ?Sized>(ranks: &C, values: &mut [f32]) -> Result<()> {
    let counts = Shards::new(values.len(), ranks.world(), 1).counts();
    reduce_scatter(ranks, "all_reduce", values, &counts)?;
    all_gather(ranks, "all_reduce", values, &counts)
}

pub fn all_reduce_f64<C: Exchange + ?Sized>(
    ranks: &C,
    values: &mut [f64],
    reduction: Reduction,
) -> Result<()> {
    let count = values.len();
    let mut of_ranks = values.repeat(ranks.world());
    all_gather(ranks, "all_reduce", &mut of_ranks, &vec![count; ranks.world()])?;
    for (index, value) in values.iter_mut().enumerate() {
        let one_a_rank = of_ranks.iter().skip(index).step_by(count);
        *value = one_a_rank
            .copied()
            .reduce(|a, b| reduction.apply(a, b))
            .unwrap_or(*value);
    }
    Ok(())
}

pub fn reduce_scatter<C: Exchange + ?Sized>(
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

pub fn all_gather<C: Exchange + ?Sized, T: Pod>(
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

pub fn all_gather_bytes<C: Exchange + ?Sized>(ranks: &C, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    const NAME: &str = "all_gather_bytes";
    let mut counts = vec![bytes.len() as u64; ranks.world()];
    all_gather(ranks, NAME, &mut counts, &vec![1; ranks.world()])?;
    let mut of_ranks: Vec<Vec<u8>> = counts.iter().map(|&count| vec![0; count as usize]).collect();
    let receive = of_ranks.iter_mut().map(Vec::as_mut_slice).collect();
    exchange(
        ranks,
        NAME,
        ranks.time_limit(),
        &vec![bytes; ranks.world()],
        receive,
    )?;
    bytes.clone_into(&mut of_ranks[ranks.rank()]);
    Ok(of_ranks)
}

pub fn broadcast<C: Exchange + ?Sized>(ranks: &C, values: &mut [u8], root: usize) -> Result<()> {
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

pub fn broadcast_bytes<C: Exchange + ?Sized>(ranks: &C, mut bytes: Vec<u8>, root: usize) -> Result<Vec<u8>> {
    let mut count = [bytes.len() as u64];
    broadcast(ranks, cast_slice_mut(&mut count), root)?;
    bytes.resize(count[0] as usize, 0);
    broadcast(ranks, &mut bytes, root)?;
    Ok(bytes)
}

/// An exchange that is counted; none where there is nobody else.
fn exchange<C: Exchange + ?Sized>(
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

fn check<C: Exchange + ?Sized>(
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
