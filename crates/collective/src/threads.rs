//! Ranks as threads of one process: for tests, and the model for what an implementation has to do.
//!
//! A channel from each rank to each other. A rank that panics or returns early drops its ends, which the others notice at once.
//! Every message is copied twice, so this is not for speed.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Collective, CollectiveError, Meter, Result};

/// One rank among threads.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    limit: Duration,
    meter: Meter,
    /// `None` once this rank has ended. Locked during an exchange, so that exchanges of one rank keep their order.
    channels: Mutex<Option<Channels>>,
    world: usize,
}

#[derive(Debug)]
struct Channels {
    exchanges: u64,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Threads {
    /// All ranks of a world, each to be moved to its own thread.
    pub fn new(world: usize, limit: Duration) -> Vec<Self> {
        let mut senders: Vec<Vec<_>> = (0..world).map(|_| Vec::with_capacity(world)).collect();
        let mut receivers = Vec::with_capacity(world);
        for _ in 0..world {
            let mut from = Vec::with_capacity(world);
            for to in &mut senders {
                let (sender, receiver) = channel();
                to.push(sender);
                from.push(receiver);
            }
            receivers.push(from);
        }
        let rank = |(rank, (to, from))| Self {
            rank,
            limit,
            meter: Meter::default(),
            channels: Mutex::new(Some(Channels {
                exchanges: 0,
                to,
                from,
            })),
            world,
        };
        senders.into_iter().zip(receivers).enumerate().map(rank).collect()
    }

    /// Runs a function on all ranks of a world, and returns what they return, in their order. A panic of one goes on
    /// here once all have ended.
    pub fn run<T: Send>(world: usize, limit: Duration, function: impl Fn(Self) -> T + Sync) -> Vec<T> {
        let function = &function;
        thread::scope(|scope| {
            let handles: Vec<_> = Self::new(world, limit)
                .into_iter()
                .map(|rank| scope.spawn(move || function(rank)))
                .collect();
            let results: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
            let value =
                |result: thread::Result<T>| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            results.into_iter().map(value).collect()
        })
    }

    fn ended(&self, operation: &'static str, rank: usize) -> CollectiveError {
        CollectiveError::Ended {
            operation,
            rank,
            place: self.place(rank),
        }
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn place(&self, rank: usize) -> String {
        format!("thread {rank}")
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
        let begin = Instant::now();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channels) = channels.as_mut() else {
            return Err(self.ended(operation, self.rank));
        };
        channels.exchanges += 1;
        let others = |rank: &usize| *rank != self.rank;
        for ((_, to), bytes) in channels
            .to
            .iter()
            .enumerate()
            .zip(send)
            .filter(|((rank, _), _)| others(rank))
        {
            // A rank that is gone is reported below, when its message is missing.
            let _ = to.send(bytes.to_vec());
        }
        let mut late = Vec::new();
        let from = channels.from.iter().zip(receive.iter_mut()).enumerate();
        for (rank, (from, into)) in from.filter(|(rank, _)| others(rank)) {
            let message = match from.recv_timeout(limit.saturating_sub(begin.elapsed())) {
                Ok(message) => message,
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended(operation, rank)),
                Err(RecvTimeoutError::Timeout) => {
                    late.push((rank, self.place(rank)));
                    continue;
                }
            };
            if message.len() != into.len() {
                return Err(CollectiveError::Length {
                    operation,
                    rank,
                    place: self.place(rank),
                    sent: message.len(),
                    expected: into.len(),
                });
            }
            into.copy_from_slice(&message);
        }
        if late.is_empty() {
            return Ok(());
        }
        Err(CollectiveError::Late {
            operation,
            number: channels.exchanges,
            limit,
            ranks: late,
        })
    }

    fn finish(&self) -> Result<()> {
        self.barrier()
    }

    fn abort(&self, _reason: &str) {
        *self.channels.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
