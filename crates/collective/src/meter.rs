//! What operations cost a rank: time, messages and bytes.

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What operations have cost a rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Operations.
    pub operations: u64,
    /// Time in them, waiting for other ranks included.
    pub time: Duration,
    /// Of it, time that overlapped with other work; not known of sums between devices.
    pub hidden: Duration,
    /// Bytes sent to other ranks.
    pub sent: u64,
    /// Bytes received from other ranks.
    pub received: u64,
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            time: self.time + other.time,
            hidden: self.hidden + other.hidden,
            sent: self.sent + other.sent,
            received: self.received + other.received,
        }
    }
}

/// Counts it.
#[derive(Debug, Default)]
pub struct Meter {
    operations: AtomicU64,
    nanoseconds: AtomicU64,
    hidden_nanoseconds: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
    /// Counts an operation and its time.
    pub fn time<T>(&self, operation: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = operation();
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds
            .fetch_add(nanoseconds(begin.elapsed()), Ordering::Relaxed);
        result
    }

    /// Counts time in operations that overlapped with other work.
    pub fn hide(&self, time: Duration) {
        self.hidden_nanoseconds
            .fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// Counts the bytes of an exchange of rank `rank`.
    pub fn count(&self, rank: usize, send: &[&[u8]], receive: &[&mut [u8]]) {
        for (other, (send, receive)) in send.iter().zip(receive).enumerate() {
            if other != rank {
                self.sent.fetch_add(send.len() as u64, Ordering::Relaxed);
                self.received.fetch_add(receive.len() as u64, Ordering::Relaxed);
            }
        }
    }

    /// What has been counted so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            operations: self.operations.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            hidden: Duration::from_nanos(self.hidden_nanoseconds.load(Ordering::Relaxed)),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
