//! Sums between GPUs, over NCCL.
//!
//! **Untested**: this has been compiled and never run, for want of a machine with two GPUs. It is thin for that reason.
//!
//! Values are `f32` at addresses on the device, and an operation is put on a CUDA stream and not waited for. Ranks find
//! one another over another [`Collective`], which broadcasts NCCL's id. CUDA and NCCL are looked for at run time.
//!
//! The order of additions is NCCL's. All ranks have the same bits, another number of ranks or another topology may give
//! others.
//!
//! NCCL waits for a late rank on the device, without a limit. So do what has one first in each step, such as the
//! exchange of losses over the other collective: a rank that hangs is found and named there.

use std::ffi::{CStr, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::nccl::result::{self, NcclError};
use cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclGetErrorString, ncclRedOp_t, ncclUniqueId};

use crate::{Collective, CollectiveError, Result, Shards};

const F32: ncclDataType_t = ncclDataType_t::ncclFloat32;
const SUM: ncclRedOp_t = ncclRedOp_t::ncclSum;

/// Values of `f32` on this rank's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceValues {
    /// Where the first lies.
    pub address: u64,
    /// How many there are.
    pub length: usize,
}

/// A CUDA stream: its handle, 0 for the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(pub u64);

/// This rank's part of an NCCL communicator.
#[derive(Debug)]
pub struct Nccl {
    communicator: ncclComm_t,
    /// Keeps the device's primary context, which is the one LibTorch uses too.
    context: Arc<CudaContext>,
    world: usize,
}

// SAFETY: a communicator may move between threads as long as two do not use it at once (NCCL user guide, "Thread
// Safety"); `Nccl` is not `Sync`.
unsafe impl Send for Nccl {}

impl Nccl {
    /// Joins the ranks of `bootstrap`, each with the device of this number.
    ///
    /// # Errors
    /// CUDA or NCCL are missing on any rank, which is then named on all; the device is not there; NCCL refuses, for
    /// instance because two ranks have one device.
    pub fn start(bootstrap: &dyn Collective, device: usize) -> Result<Self> {
        let own = open(device);
        let problem = own.as_ref().err().map(String::as_str).unwrap_or_default();
        let problems = bootstrap.all_gather_bytes(problem.as_bytes())?;
        if let Some((rank, problem)) = problems
            .iter()
            .enumerate()
            .find(|(_, problem)| !problem.is_empty())
        {
            let problem = String::from_utf8_lossy(problem);
            return Err(refused(
                "start",
                format!("rank {rank} ({}): {problem}", bootstrap.place(rank)),
            ));
        }
        let context = own.map_err(|problem| refused("start", problem))?;

        let is_root = bootstrap.rank() == 0;
        let id = if is_root {
            result::get_uniqueid().ok()
        } else {
            None
        };
        let id = bootstrap.broadcast_bytes(id.map(to_bytes).unwrap_or_default(), 0)?;
        let id = from_bytes(&id).ok_or_else(|| refused("make an id", "rank 0 could not".into()))?;
        let (rank, world) = (bootstrap.rank(), bootstrap.world());
        let mut communicator = ptr::null_mut();
        // SAFETY: the pointer is to a local, and the id came from NCCL.
        unsafe { result::comm_init_rank(&mut communicator, world as i32, id, rank as i32) }
            .map_err(|error| nccl("join the ranks", error))?;
        Ok(Self {
            communicator,
            context,
            world,
        })
    }

    /// Sums each element over all ranks, in place.
    ///
    /// # Errors
    /// NCCL refuses.
    ///
    /// # Safety
    /// The values are on this rank's device, equally many on each rank, and nothing else touches them until the stream
    /// has done this; the stream is one of that device.
    pub unsafe fn all_reduce(&self, values: DeviceValues, stream: Stream) -> Result<()> {
        self.bind()?;
        let address = values.at(0);
        // SAFETY: the caller's promise.
        unsafe {
            let stream = stream.0 as *mut _;
            result::all_reduce(
                address,
                address,
                values.length,
                F32,
                SUM,
                self.communicator,
                stream,
            )
        }
        .map_err(|error| nccl("sum", error))?;
        Ok(())
    }

    /// Sums each element over all ranks into the shard of its owner; see
    /// [`Collective::reduce_scatter`]. The other shards stay as they were.
    ///
    /// # Errors
    /// Counts that do not fit the values; NCCL refuses.
    ///
    /// # Safety
    /// As for [`all_reduce`](Self::all_reduce).
    pub unsafe fn reduce_scatter(
        &self,
        values: DeviceValues,
        counts: &[usize],
        stream: Stream,
    ) -> Result<()> {
        self.each_shard("reduce_scatter", values, counts, |owner, shard| {
            let address = values.at(shard.start);
            // SAFETY: the caller's promise, for a part of the values.
            unsafe {
                let stream = stream.0 as *mut _;
                result::reduce(
                    address,
                    address,
                    shard.len(),
                    F32,
                    SUM,
                    owner,
                    self.communicator,
                    stream,
                )
            }
        })
    }

    /// Fills the shards of the other ranks with theirs; see [`Collective::all_gather`].
    ///
    /// # Errors
    /// Counts that do not fit the values; NCCL refuses.
    ///
    /// # Safety
    /// As for [`all_reduce`](Self::all_reduce).
    pub unsafe fn all_gather(&self, values: DeviceValues, counts: &[usize], stream: Stream) -> Result<()> {
        self.each_shard("all_gather", values, counts, |owner, shard| {
            let address = values.at(shard.start);
            // SAFETY: the caller's promise, for a part of the values.
            unsafe {
                let stream = stream.0 as *mut _;
                result::broadcast(
                    address,
                    address,
                    shard.len(),
                    F32,
                    owner,
                    self.communicator,
                    stream,
                )
            }
        })
    }

    /// One operation a shard, all at once. NCCL's own reduce-scatter and all-gather want shards of one length.
    fn each_shard(
        &self,
        operation: &'static str,
        values: DeviceValues,
        counts: &[usize],
        one: impl Fn(i32, Range<usize>) -> std::result::Result<result::NcclStatus, NcclError>,
    ) -> Result<()> {
        let shards = Shards::from_counts(counts);
        if shards.world() != self.world || shards.total() != values.length {
            return Err(CollectiveError::Counts {
                operation,
                world: self.world,
                length: values.length,
                counts: counts.to_vec(),
            });
        }
        self.bind()?;
        result::group_start().map_err(|error| nccl(operation, error))?;
        let mut outcome = Ok(());
        for (owner, shard) in shards.ranges().enumerate().filter(|(_, shard)| !shard.is_empty()) {
            outcome = outcome.and(one(owner as i32, shard).map(|_| ()));
        }
        // A group that was begun has to be ended, whatever happened in it.
        let end = result::group_end().map(|_| ());
        outcome.and(end).map_err(|error| nccl(operation, error))
    }

    fn bind(&self) -> Result<()> {
        self.context
            .bind_to_thread()
            .map_err(|error| refused("use its device", format!("{error:?}")))
    }
}

impl Drop for Nccl {
    /// Does not wait for ranks that may be gone: what was put on a stream has to be waited for before.
    fn drop(&mut self) {
        // SAFETY: the communicator is this struct's own, and is not used again. An error here has no one to hear it.
        let _ = unsafe { result::comm_abort(self.communicator) };
    }
}

impl DeviceValues {
    fn at(self, element: usize) -> *mut c_void {
        (self.address + (element * size_of::<f32>()) as u64) as *mut c_void
    }
}

/// The device's context, if CUDA and NCCL are there. `cudarc` panics where a library is missing.
fn open(device: usize) -> std::result::Result<Arc<CudaContext>, String> {
    // SAFETY: runs the libraries' initialisers, as any use of them does.
    let (cuda, nccl) = unsafe {
        (
            cudarc::driver::sys::is_culib_present(),
            cudarc::nccl::sys::is_culib_present(),
        )
    };
    match (cuda, nccl) {
        (true, true) => CudaContext::new(device).map_err(|error| format!("device {device}: {error:?}")),
        (false, _) => Err("there is no CUDA driver (libcuda.so)".into()),
        (true, false) => Err("there is no NCCL (libnccl.so); put its folder into LD_LIBRARY_PATH".into()),
    }
}

fn to_bytes(id: ncclUniqueId) -> Vec<u8> {
    bytemuck::cast_slice(&id.internal).to_vec()
}

fn from_bytes(bytes: &[u8]) -> Option<ncclUniqueId> {
    let bytes: [u8; 128] = bytes.try_into().ok()?;
    Some(ncclUniqueId {
        internal: bytemuck::cast(bytes),
    })
}

fn refused(action: &'static str, problem: String) -> CollectiveError {
    CollectiveError::Nccl { action, problem }
}

fn nccl(action: &'static str, error: NcclError) -> CollectiveError {
    // SAFETY: NCCL returns a text of its own that is never freed.
    let text = unsafe { CStr::from_ptr(ncclGetErrorString(error.0)) };
    refused(action, text.to_string_lossy().into_owned())
}
