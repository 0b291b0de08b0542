//! When to ask again, and when to give up.
//!
//! Stalls, cut connections, and answers 408, 429 and 5xx pass by waiting; a wrong address or missing
//! rights do not. Waiting doubles from half a second to half a minute, with jitter so that many ranks do
//! not return together. What counts is attempts in a row without progress: a slow link that keeps
//! delivering is not given up.

use std::time::Duration;

use rand::RngExt;

use crate::error::{CorpusError, Result};

/// How a failing store is treated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in a row without progress before giving up.
    pub attempts: u32,
    /// Wait after the first failure; doubles with each further one.
    pub first_wait: Duration,
    /// Longest wait.
    pub longest_wait: Duration,
    /// A connection that delivers nothing for this long has failed.
    pub stall: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 8,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after failure number `failures` (from 1): between half the doubled wait and all
    /// of it, but never less than the server asked for.
    pub fn wait(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = self
            .first_wait
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        let jittered = doubled
            .min(self.longest_wait)
            .mul_f64(rand::rng().random_range(0.5..=1.0));
        jittered.max(asked.unwrap_or_default().min(self.longest_wait * 10))
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Asking again would give the same.
    Lasting(String),
    /// It may pass; with the wait the server asked for.
    Passing(String, Option<Duration>),
}

/// Counts failures in a row.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    source: &'a str,
    failures: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(policy: &'a RetryPolicy, source: &'a str) -> Self {
        Attempts {
            policy,
            source,
            failures: 0,
        }
    }

    /// Something arrived: failures so far are forgiven.
    pub(super) fn progress(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt, or gives up with the source's name.
    pub(super) async fn after(&mut self, what: &str, fault: Fault) -> Result<()> {
        let (message, asked) = match fault {
            Fault::Lasting(message) => {
                return Err(CorpusError::source(self.source, format!("{what}: {message}")));
            }
            Fault::Passing(message, asked) => (message, asked),
        };
        self.failures += 1;
        if self.failures >= self.policy.attempts {
            let problem = format!(
                "{what}: {message}; given up after {} attempts in a row",
                self.failures
            );
            return Err(CorpusError::source(self.source, problem));
        }
        let wait = self.policy.wait(self.failures, asked);
        tracing::warn!(
            source = self.source,
            what,
            message,
            ?wait,
            "waiting before the next attempt"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_heed_the_server() {
        let policy = RetryPolicy::default();
        for (failures, most) in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (60, 30.0)] {
            for _ in 0..100 {
                let wait = policy.wait(failures, None).as_secs_f64();
                assert!((most / 2.0..=most).contains(&wait), "{failures}: {wait}");
            }
        }
        assert_eq!(
            policy.wait(1, Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
        assert_eq!(
            policy.wait(1, Some(Duration::from_secs(99_999))),
            Duration::from_secs(300)
        );
    }
}
