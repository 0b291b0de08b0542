//! Ranks as processes, over MPI.
//!
//! An exchange is a set of non-blocking sends and receives, polled until they are done or the time is up. Whoever has not been
//! heard from by then is named, so no heartbeats are needed; a rank that hangs in its own work is found when the others next
//! need it. The job is then ended by `MPI_Abort`: a rank cannot leave the middle of an exchange whose buffers MPI may still write
//! to.
//!
//! Polling costs a core. A rank that has heard nothing for 20 µs sleeps between polls, so that waiting ranks do not slow down
//! those that still compute.
//!
//! Rejected: `MPI_Allreduce` and its kin, whose order of additions is the library's; waiting without a limit
//! (`MPI_Wait`) with a watching thread, which would have to call MPI while another thread is inside it; `sched_yield`
//! between polls, which on a busy machine gives the core away for a whole slice (two ranks, 100 MB:
//! 261 ms, where a pause gives 68).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::environment::Universe;
use mpi::request::{LocalScope, Request, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Equivalence, Source};

use crate::{Collective, CollectiveError, Meter, Placement, Result};

/// The exit code of a job that was ended by one of its ranks.
const ABORTED: i32 = 1;

/// Bytes of one MPI message, whose count is an `i32`.
const MESSAGE: usize = 1 << 30;
/// Tags that every MPI library has.
const TAGS: u64 = 1 << 15;
/// How long a rank polls without a pause.
const EAGER: Duration = Duration::from_micros(20);
/// How long it sleeps between polls after that.
const PAUSE: Duration = Duration::from_micros(20);

/// This process as a rank of an MPI job.
pub struct Mpi {
    rank: usize,
    world: usize,
    places: Vec<String>,
    limit: Duration,
    meter: Meter,
    /// Exchanges so far. Locked during an exchange, so that MPI is never called by two threads and exchanges keep their
    /// order.
    exchanges: Mutex<u64>,
    finished: AtomicBool,
    /// Ends MPI when dropped.
    _universe: Universe,
}

impl Mpi {
    /// Initialises MPI, gathers where the ranks run, and makes a panic of any thread end the job.
    ///
    /// # Errors
    /// MPI was initialised before, cannot be called by several threads in turn, or sees another world than the launcher.
    pub fn start(placement: &Placement, limit: Duration) -> Result<Self> {
        let (universe, threading) = within(limit, || mpi::initialize_with_threading(Threading::Serialized))
            .ok_or_else(|| unusable("it was begun before in this process"))?;
        if threading < Threading::Serialized {
            return Err(unusable("it was built for programs of one thread only"));
        }
        let communicator = universe.world();
        let [rank, world] =
            [communicator.rank(), communicator.size()].map(|number| number.unsigned_abs() as usize);
        if (rank, world) != (placement.rank, placement.world) {
            let library = mpi::environment::library_version().unwrap_or_default();
            return Err(CollectiveError::OtherMpi {
                launcher: placement.launcher.to_string(),
                rank: placement.rank,
                world: placement.world,
                library: library.split(',').next().unwrap_or_default().trim().to_owned(),
                mpi_rank: rank,
                mpi_world: world,
            });
        }
        let mut this = Self {
            rank,
            world,
            places: Vec::new(),
            limit,
            meter: Meter::default(),
            exchanges: Mutex::new(0),
            finished: AtomicBool::new(false),
            _universe: universe,
        };
        let host = mpi::environment::processor_name().unwrap_or_else(|_| "unknown host".into());
        this.places = vec![format!("host {host}, process {}", std::process::id())];
        let places = this.all_gather_bytes(this.place(0).as_bytes())?;
        this.places = places
            .iter()
            .map(|place| String::from_utf8_lossy(place).into_owned())
            .collect();
        end_job_on_panic(rank, this.place(rank));
        Ok(this)
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn place(&self, rank: usize) -> String {
        self.places
            .get(rank)
            .cloned()
            .unwrap_or_else(|| "host not yet known".into())
    }

    fn time_limit(&self) -> Duration {
        self.limit
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn exchange(
        &self,
        operation: &'static str,
        limit: Duration,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> Result<()> {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        *exchanges += 1;
        let tag = (*exchanges % TAGS) as i32;
        let communicator = SimpleCommunicator::world();
        let mut wrong_length = None;
        scope(|scope| {
            let mut pending = Vec::with_capacity(2 * self.world);
            for (peer, bytes) in receive.iter_mut().enumerate() {
                if peer == self.rank {
                    continue;
                }
                let process = communicator.process_at_rank(peer as i32);
                for message in messages_mut(bytes) {
                    let expected = Some(message.len());
                    let request = process.immediate_receive_into_with_tag(scope, message, tag);
                    pending.push(Pending {
                        peer,
                        expected,
                        request,
                    });
                }
            }
            for (peer, bytes) in send.iter().enumerate() {
                if peer == self.rank {
                    continue;
                }
                let process = communicator.process_at_rank(peer as i32);
                for message in messages(bytes) {
                    let request = process.immediate_send_with_tag(scope, message, tag);
                    pending.push(Pending {
                        peer,
                        expected: None,
                        request,
                    });
                }
            }
            let begin = Instant::now();
            let mut heard = begin;
            loop {
                let before = pending.len();
                pending = pending
                    .into_iter()
                    .filter_map(|one| one.ask(&mut wrong_length))
                    .collect();
                if pending.is_empty() {
                    return;
                }
                if begin.elapsed() >= limit {
                    self.end_job_late(operation, *exchanges, limit, &pending);
                }
                if pending.len() < before {
                    heard = Instant::now();
                }
                if heard.elapsed() < EAGER {
                    std::hint::spin_loop();
                } else {
                    thread::sleep(PAUSE);
                }
            }
        });
        match wrong_length {
            None => Ok(()),
            Some((rank, sent, expected)) => Err(CollectiveError::Length {
                operation,
                rank,
                place: self.place(rank),
                sent,
                expected,
            }),
        }
    }

    fn finish(&self) -> Result<()> {
        self.barrier()?;
        self.finished.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn abort(&self, reason: &str) {
        end_job(self.rank, &self.place(self.rank), reason)
    }
}

impl Mpi {
    fn end_job_late(
        &self,
        operation: &'static str,
        number: u64,
        limit: Duration,
        pending: &[Pending<'_, '_>],
    ) -> ! {
        let ranks: BTreeSet<usize> = pending.iter().map(|one| one.peer).collect();
        let error = CollectiveError::Late {
            operation,
            number,
            limit,
            ranks: ranks.into_iter().map(|rank| (rank, self.place(rank))).collect(),
        };
        end_job(self.rank, &self.place(self.rank), &error.to_string())
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if !self.finished.load(Ordering::Relaxed) {
            self.abort("it ended before the job did");
        }
    }
}

/// A message on its way.
struct Pending<'a, 'scope> {
    peer: usize,
    /// Its length, where it is one to receive.
    expected: Option<usize>,
    request: Request<'a, [u8], &'scope LocalScope<'a>>,
}

impl Pending<'_, '_> {
    /// `None` when the message has come or gone. One that was shorter than expected is put into `wrong_length`.
    fn ask(self, wrong_length: &mut Option<(usize, usize, usize)>) -> Option<Self> {
        let Self {
            peer,
            expected,
            request,
        } = self;
        let status = match request.test() {
            Ok(status) => status,
            Err(request) => {
                return Some(Self {
                    peer,
                    expected,
                    request,
                });
            }
        };
        if let Some(expected) = expected {
            let sent = status.count(u8::equivalent_datatype()).unsigned_abs() as usize;
            if sent != expected {
                *wrong_length = Some((peer, sent, expected));
            }
        }
        None
    }
}

/// The bytes in messages that MPI can carry: at least one, because an empty message signals that a rank has arrived.
fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(MESSAGE).chain(bytes.is_empty().then_some(bytes))
}

fn messages_mut(bytes: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    let none: Option<&mut [u8]> = bytes.is_empty().then(Default::default);
    bytes.chunks_mut(MESSAGE).chain(none)
}

/// Ends the process if `start` takes longer than `limit`: MPI waits forever for ranks that do not come up.
fn within<T>(limit: Duration, start: impl FnOnce() -> T) -> T {
    let (started, wait) = mpsc::channel::<()>();
    thread::spawn(move || {
        if wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!(
                "MPI has not begun within {limit:?}: not all ranks of this job have started; it is ended"
            );
            std::process::exit(ABORTED);
        }
    });
    let result = start();
    drop(started);
    result
}

/// Says why and ends all ranks.
fn end_job(rank: usize, place: &str, reason: &str) -> ! {
    eprintln!("rank {rank} ({place}) ends the job: {reason}");
    SimpleCommunicator::world().abort(ABORTED)
}

/// A panic in any thread ends the job once its message is printed, for the other ranks would wait for this one.
fn end_job_on_panic(rank: usize, place: String) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if !mpi::environment::is_finalized() {
            end_job(rank, &place, "it panicked");
        }
    }));
}

fn unusable(problem: &str) -> CollectiveError {
    CollectiveError::Mpi {
        problem: problem.to_owned(),
    }
}
