//! The queue of requests, in order of arrival.
//!
//! A list under a lock instead of a channel, because abandoned requests must leave at once to free their places.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

/// Work in order of arrival.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    work: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                work: VecDeque::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds work, and drops what is no longer `wanted`. After [`Queue::close`] the new work is dropped too.
    pub fn push(&self, work: T, wanted: impl Fn(&T) -> bool) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.work.retain(wanted);
            waiting.work.push_back(work);
            self.changed.notify_one();
        }
    }

    /// Waits for the next work; `None` once the queue is closed.
    pub fn pop(&self) -> Option<T> {
        let mut waiting = self.lock();
        while !waiting.closed && waiting.work.is_empty() {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.work.pop_front()
    }

    /// Drops all waiting and future work.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.work.clear();
        self.changed.notify_all();
    }
}

/// A request's place among those that are admitted. It has two holders, and is free as soon as either is dropped: the work,
/// once it is done, or the reply, once its client has left.
#[derive(Debug)]
pub(crate) struct Place(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Place {
    /// For the work and for the reply.
    pub fn shared(permit: OwnedSemaphorePermit) -> (Self, Self) {
        let place = Arc::new(Mutex::new(Some(permit)));
        (Self(Arc::clone(&place)), Self(place))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_comes_in_order_without_what_nobody_wants() {
        let queue = Queue::new();
        for number in 1..=4 {
            queue.push(number, |waiting| *waiting != 2);
        }
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop()],
            [Some(1), Some(3), Some(4)]
        );
        queue.push(5, |_| true);
        queue.close();
        queue.push(6, |_| true);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn who_waits_is_woken() {
        let queue = Queue::new();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| (queue.pop(), queue.pop()));
            queue.push(1, |_| true);
            std::thread::sleep(std::time::Duration::from_millis(20));
            queue.close();
            assert_eq!(waits.join().unwrap(), (Some(1), None));
        });
    }
}
