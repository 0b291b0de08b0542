//! Sums of values in device memory, without a detour over the host.

use crate::{Result, Traffic};

/// Values of `f32` on this rank's device: one shard a rank, all of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceValues {
    /// Where the first lies.
    pub address: u64,
    /// How many each rank owns.
    pub shard: usize,
}

/// An operation that was begun: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Begun(pub u64);

/// Sums between the devices of ranks.
///
/// An operation begins when all earlier work of its device is done, and runs concurrently with later work until
/// [`wait`](Self::wait). Ranks begin the same operations in the same order.
///
/// All ranks have the same bits. The order of additions is the implementation's; another number of ranks may give others.
pub trait DeviceCollective: Send + Sync {
    /// Sums each element over all ranks into the shard of its owner. The other shards are unspecified afterwards.
    ///
    /// # Errors
    /// The device or the library refuses.
    ///
    /// # Safety
    /// The values are on this rank's device, and nothing else touches or frees them before the operation was waited for.
    unsafe fn reduce_scatter(&self, values: DeviceValues) -> Result<Begun>;

    /// Fills the shards of the other ranks with theirs.
    ///
    /// # Errors
    /// The device or the library refuses.
    ///
    /// # Safety
    /// As for [`reduce_scatter`](Self::reduce_scatter).
    unsafe fn all_gather(&self, values: DeviceValues) -> Result<Begun>;

    /// Later work of the device is done after this operation and those that were begun before it.
    ///
    /// # Errors
    /// The device refuses.
    fn wait(&self, operation: Begun) -> Result<()>;

    /// What operations have cost this rank's device so far, as far as they have ended.
    fn traffic(&self) -> Traffic;
}
