//! Sums between GPUs, over NCCL.
//!
//! **Untested**: this has been compiled but never run, for lack of a machine with two GPUs. It is thin for that reason; the
//! engine's use of [`DeviceCollective`] is tested with another implementation.
//!
//! Ranks find one another over another [`Collective`], which broadcasts NCCL's id. CUDA and NCCL are loaded at run time, NCCL by
//! `nccl/library.rs`. Operations run on a separate CUDA stream; LibTorch uses the default one.
//!
//! NCCL waits for a late rank without a limit, and unseen, on the device. So a thread watches the oldest operation and ends the
//! job when it takes longer than the time limit.

mod library;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError};
use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclUniqueId};

use library::Library;

use crate::{Begun, Collective, CollectiveError, DeviceCollective, DeviceValues, Result, Traffic};

/// How often the oldest operation is checked.
const LOOK: Duration = Duration::from_millis(500);

/// This rank's part of an NCCL communicator.
pub struct Nccl {
    library: Library,
    communicator: Mutex<Communicator>,
    /// Keeps the device's primary context, which is the one LibTorch uses too.
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    begun: Arc<Mutex<Operations>>,
    rank: usize,
    world: usize,
    watch: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

struct Communicator(ncclComm_t);

// SAFETY: a communicator may move between threads as long as two do not use it at once (NCCL user guide, "Thread
// Safety"), and it lies in a mutex.
unsafe impl Send for Communicator {}

/// Operations on the stream.
#[derive(Default)]
struct Operations {
    /// Those that have not been seen to end, the oldest first.
    pending: VecDeque<Operation>,
    traffic: Traffic,
}

struct Operation {
    since: Instant,
    start: CudaEvent,
    end: Arc<CudaEvent>,
}

impl Nccl {
    /// Joins the ranks of `host`, each with the device of this number.
    ///
    /// # Errors
    /// CUDA or NCCL are missing on any rank, which is then named on all; the device is not there; NCCL refuses, for
    /// instance because two ranks have one device.
    pub fn start(host: &Arc<dyn Collective>, device: usize) -> Result<Self> {
        let own = open(device);
        let problem = own.as_ref().err().map(String::as_str).unwrap_or_default();
        let problems = host.all_gather_bytes(problem.as_bytes())?;
        if let Some((rank, problem)) = problems
            .iter()
            .enumerate()
            .find(|(_, problem)| !problem.is_empty())
        {
            let problem = String::from_utf8_lossy(problem);
            return Err(refused(
                "start",
                format!("rank {rank} ({}): {problem}", host.place(rank)),
            ));
        }
        let (library, context, stream) = own.map_err(|problem| refused("start", problem))?;

        let id = match host.rank() {
            0 => library.unique_id().ok(),
            _ => None,
        };
        let id = host.broadcast_bytes(id.map(to_bytes).unwrap_or_default(), 0)?;
        let id = from_bytes(&id).ok_or_else(|| refused("make an id", "rank 0 could not".into()))?;
        let (rank, world) = (host.rank(), host.world());
        let communicator = library.join(world, id, rank)?;
        let begun = Arc::new(Mutex::new(Operations::default()));
        let is_over = Arc::new(AtomicBool::new(false));
        let watch = {
            let (begun, is_over, host) = (begun.clone(), is_over.clone(), host.clone());
            thread::spawn(move || watch(&begun, &is_over, &*host))
        };
        Ok(Self {
            library,
            communicator: Mutex::new(Communicator(communicator)),
            context,
            stream,
            begun,
            rank,
            world,
            watch: Some(watch),
            is_over,
        })
    }

    /// Puts an operation on the stream, after what the default one has so far.
    fn begin(
        &self,
        values: DeviceValues,
        operation: impl FnOnce(ncclComm_t, cudaStream_t) -> Result<()>,
    ) -> Result<Begun> {
        let timed = || self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let communicator = locked(&self.communicator);
        self.context.bind_to_thread().map_err(driver)?;
        let ready = self.context.default_stream().record_event(None).map_err(driver)?;
        self.stream.wait(&ready).map_err(driver)?;
        let start = timed().map_err(driver)?;
        operation(communicator.0, self.stream.cu_stream().cast())?;
        let end = timed().map_err(driver)?;
        let mut begun = locked(&self.begun);
        let bytes = (values.shard * (self.world - 1) * size_of::<f32>()) as u64;
        begun.traffic.operations += 1;
        begun.traffic.sent += bytes;
        begun.traffic.received += bytes;
        begun.pending.push_back(Operation {
            since: Instant::now(),
            start,
            end: Arc::new(end),
        });
        Ok(Begun(begun.traffic.operations))
    }
}

impl DeviceCollective for Nccl {
    unsafe fn reduce_scatter(&self, values: DeviceValues) -> Result<Begun> {
        self.begin(values, |communicator, stream| {
            // SAFETY: the caller's promise; communicator and stream are this struct's.
            unsafe {
                self.library
                    .reduce_scatter(values, self.rank, communicator, stream)
            }
        })
    }

    unsafe fn all_gather(&self, values: DeviceValues) -> Result<Begun> {
        self.begin(values, |communicator, stream| {
            // SAFETY: as above.
            unsafe { self.library.all_gather(values, self.rank, communicator, stream) }
        })
    }

    fn wait(&self, operation: Begun) -> Result<()> {
        let end = locked(&self.begun).end_of(operation);
        match end {
            // The stream keeps order: what is no longer pending has ended.
            None => Ok(()),
            Some(end) => self.context.default_stream().wait(&end).map_err(driver),
        }
    }

    fn traffic(&self) -> Traffic {
        let mut begun = locked(&self.begun);
        begun.settle();
        begun.traffic
    }
}

impl Operations {
    /// Takes those that have ended off, and adds up their time.
    fn settle(&mut self) {
        while let Some(oldest) = self.pending.front() {
            // What has failed is left, for its error shows wherever its device is used next.
            if !oldest.end.try_is_complete().unwrap_or(false) {
                return;
            }
            let milliseconds = oldest.start.elapsed_ms(&oldest.end).unwrap_or(0.0);
            self.traffic.time += Duration::from_secs_f32(milliseconds.max(0.0) / 1e3);
            self.pending.pop_front();
        }
    }

    fn end_of(&self, operation: Begun) -> Option<Arc<CudaEvent>> {
        let after = self.traffic.operations.checked_sub(operation.0)? as usize;
        let index = self.pending.len().checked_sub(after + 1)?;
        self.pending.get(index).map(|operation| operation.end.clone())
    }
}

/// Ends the job when the oldest operation takes longer than ranks may.
fn watch(begun: &Mutex<Operations>, is_over: &AtomicBool, host: &dyn Collective) {
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        let oldest = {
            let mut begun = locked(begun);
            begun.settle();
            begun.pending.front().map(|operation| operation.since)
        };
        let limit = host.time_limit();
        if oldest.is_some_and(|since| since.elapsed() > limit) {
            host.abort(&format!(
                "a sum between devices has not ended within {limit:?}; the late rank is one without this message"
            ));
            return;
        }
    }
}

impl Drop for Nccl {
    /// Does not wait for ranks that may be gone: what was begun has to be waited for before.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // SAFETY: the communicator is this struct's own, and is not used again.
        unsafe { self.library.abort(locked(&self.communicator).0) };
        let _ = self.watch.take().map(JoinHandle::join);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// NCCL, the device's context and a stream of it. `cudarc` panics where CUDA is missing.
fn open(device: usize) -> std::result::Result<(Library, Arc<CudaContext>, Arc<CudaStream>), String> {
    let library = Library::open()?;
    // SAFETY: runs the driver's initialisers, as any use of it does.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err("there is no CUDA driver (libcuda.so)".into());
    }
    let opened = || -> std::result::Result<_, DriverError> {
        let context = CudaContext::new(device)?;
        let stream = context.new_stream()?;
        Ok((context, stream))
    };
    let (context, stream) = opened().map_err(|error| format!("device {device}: {error:?}"))?;
    Ok((library, context, stream))
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

fn driver(error: DriverError) -> CollectiveError {
    refused("use its device", format!("{error:?}"))
}
