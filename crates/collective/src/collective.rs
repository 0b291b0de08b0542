//! The operations that ranks share.
//!
//! One operation has to be brought by each implementation, [`Collective::exchange`]: every rank has a message for every
//! other. All others are made of it in `operations.rs`, for three reasons. Sums come out in the same
//! bits on every rank, in every run, over every implementation, because the order of additions is ours and not that of
//! a library that picks an algorithm by size and topology. A rank hears from each other rank directly, so one that
//! is late is known by name. And there is one thing to get right in each implementation.
//!
//! Cost: each rank sends and receives `(world - 1) / world` of the data in a reduce-scatter or an all-gather, which
//! is the least possible, in `world - 1` messages, where a ring would have the same and a tree fewer.
//!
//! Ranks have to call the same operations in the same order with matching lengths.

use std::time::Duration;

use crate::{BetweenDevices, Meter, Reduction, Result, Traffic, operations};

/// One of the ranks of a job, and how it reaches the others.
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

    /// What is counted of operations.
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

    /// Says that the job ended well here, and waits until it has on all ranks. Without it the end of a rank
    /// is the end of the job.
    ///
    /// # Errors
    /// A rank that is late or gone.
    fn finish(&self) -> Result<()>;

    /// Ends the job on all ranks, for a reason that only this one has. Where ranks are processes this does not return.
    fn abort(&self, reason: &str);

    /// Sums between the ranks' devices, where there is a way that is not over the host.
    fn between_devices(&self) -> Option<&dyn BetweenDevices> {
        None
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// See the trait.
    fn barrier(&self) -> Result<()> {
        self.barrier_within(self.time_limit())
    }

    /// Waits for all ranks with a limit of its own, for work that one rank does while the others wait.
    ///
    /// # Errors
    /// See the trait.
    fn barrier_within(&self, limit: Duration) -> Result<()> {
        self.meter().time(|| operations::barrier(self, limit))
    }

    /// Sums each element over all ranks, in place: in `f64`, in the order of ranks, rounded once.
    ///
    /// # Errors
    /// See the trait.
    fn all_reduce(&self, values: &mut [f32]) -> Result<()> {
        self.meter().time(|| operations::all_reduce(self, values))
    }

    /// Reduces a few numbers (losses, norms, flags) over all ranks, in place and in the order of ranks. Each rank sends
    /// all of them to each other.
    ///
    /// # Errors
    /// See the trait.
    fn all_reduce_f64(&self, values: &mut [f64], reduction: Reduction) -> Result<()> {
        self.meter()
            .time(|| operations::all_reduce_f64(self, values, reduction))
    }

    /// Sums each element over all ranks and leaves each rank its shard: `counts[r]` elements for rank r, one after
    /// another. This rank's shard of `values` becomes the sum, to the bits of [`all_reduce`](Self::all_reduce); the
    /// rest stays as it was.
    ///
    /// # Errors
    /// Counts that are not one a rank or do not sum to the length of `values`; see the trait.
    fn reduce_scatter(&self, values: &mut [f32], counts: &[usize]) -> Result<()> {
        self.meter()
            .time(|| operations::reduce_scatter(self, "reduce_scatter", values, counts))
    }

    /// Fills the shards of the other ranks in `values` with theirs; `counts` as in
    /// [`reduce_scatter`](Self::reduce_scatter).
    ///
    /// # Errors
    /// Counts that are not one a rank or do not sum to the length of `values`; see the trait.
    fn all_gather(&self, values: &mut [f32], counts: &[usize]) -> Result<()> {
        self.meter()
            .time(|| operations::all_gather(self, "all_gather", values, counts))
    }

    /// Gathers a few numbers (losses, counts, flags) of all ranks in one exchange: `counts[r]` numbers of rank r, one
    /// rank after another in `values`, where this rank's are already in place.
    ///
    /// # Errors
    /// Counts that are not one a rank or do not sum to the length of `values`; see the trait.
    fn all_gather_f64(&self, values: &mut [f64], counts: &[usize]) -> Result<()> {
        self.meter()
            .time(|| operations::all_gather(self, "all_gather_f64", values, counts))
    }

    /// The bytes of every rank, in the order of ranks; they need not be equally many.
    ///
    /// # Errors
    /// See the trait.
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.meter().time(|| operations::all_gather_bytes(self, bytes))
    }

    /// Copies the values of rank `root` to all.
    ///
    /// # Errors
    /// A root that is no rank; see the trait.
    fn broadcast(&self, values: &mut [f32], root: usize) -> Result<()> {
        self.meter()
            .time(|| operations::broadcast(self, bytemuck::cast_slice_mut(values), root))
    }

    /// The bytes of rank `root`; those of the others are not looked at.
    ///
    /// # Errors
    /// A root that is no rank; see the trait.
    fn broadcast_bytes(&self, bytes: Vec<u8>, root: usize) -> Result<Vec<u8>> {
        self.meter()
            .time(|| operations::broadcast_bytes(self, bytes, root))
    }

    /// What operations have cost this rank so far.
    fn traffic(&self) -> Traffic {
        self.meter().traffic()
    }
}

impl<C: Collective + ?Sized> operations::Exchange for C {
    fn rank(&self) -> usize {
        Collective::rank(self)
    }

    fn world(&self) -> usize {
        Collective::world(self)
    }

    fn time_limit(&self) -> Duration {
        Collective::time_limit(self)
    }

    fn meter(&self) -> &Meter {
        Collective::meter(self)
    }

    fn exchange(
        &self,
        operation: &'static str,
        limit: Duration,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> Result<()> {
        Collective::exchange(self, operation, limit, send, receive)
    }
}
