//! What the ranks of a job do together.
//!
//! ```text
//! variables of mpirun, srun, … ── Placement ── start ── dyn Collective ── agree ── the work ── finish
//!                                                │
//!                              Single, Mpi, Threads: one operation each, `exchange`
//! ```
//!
//! * [`Collective`]: sums, gathers, broadcasts, barriers. An implementation moves bytes between ranks, no more;
//!   everything else is written once over that, so all have the same bits.
//! * [`Placement`]: which rank this process is, from the launcher's variables.
//! * [`agree`]: checks that all ranks were started with the same recipe, binary and data, and names the odd one.
//! * [`Shards`], [`Layout`]: which rank owns which elements of which parameters, at this world size and at another.
//! * [`DeviceCollective`]: sums of values on devices, not over the host; NCCL with the feature `nccl`.
//!
//! Nothing here knows a tensor. Values are `f32` slices on the host, or addresses on a device.
//!
//! A job cannot hang: a rank that does not arrive within the time limit is named on standard error and the whole job
//! ends, as it does at once when a rank panics or ends early.

mod agreement;
mod collective;
mod device_collective;
mod disagreement;
mod error;
mod launcher;
mod meter;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
pub mod nccl;
mod reduction;
mod shards;
mod single;
mod start;
mod threads;
mod with_devices;

pub use agreement::agree;
pub use collective::{Collective, PIECE};
pub use device_collective::{Begun, DeviceCollective, DeviceValues};
pub use disagreement::{Disagreement, Odd};
pub use error::{CollectiveError, Result};
pub use launcher::{LaunchError, Launcher, Placement};
pub use meter::{Meter, Traffic};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use reduction::Reduction;
pub use shards::{Layout, LayoutError, Piece, Shards};
pub use single::Single;
pub use start::{RANK_TIMEOUT, start};
pub use threads::Threads;
pub use with_devices::WithDevices;
