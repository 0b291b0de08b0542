//! When to retry, and when to give up.
//!
//! Stalls, dropped connections and the statuses 408, 429 and 5xx are retried; a wrong address or missing rights are not. The
//! wait doubles from half a second to half a minute, with jitter so that many ranks do not retry together. Only consecutive
//! attempts without progress count: a slow link that keeps delivering is not given up. The first question to a server is given
//! up soon if no connection can be made: then this machine is most likely offline, and a person waits.

use std::time::Duration;

use rand::RngExt;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How failing requests are retried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Consecutive attempts without progress before giving up.
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
pub enum Fault {
    /// Retrying cannot help.
    Lasting(String),
    /// Retrying may help; with the wait that the server asked for.
    Passing(String, Option<Duration>),
    /// No connection could be made; retrying may help.
    Unreachable(String),
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        let lasting = error.is_builder() || error.is_redirect();
        let unreachable = error.is_connect();
        // The address is in the surrounding message already, and may contain a signature.
        let message = with_causes(&error.without_url());
        match (lasting, unreachable) {
            (true, _) => Fault::Lasting(message),
            (false, true) => Fault::Unreachable(message),
            (false, false) => Fault::Passing(message, None),
        }
    }
}

impl Fault {
    /// The fault of an unsuccessful response.
    pub fn of_status(message: String, status: StatusCode, headers: &HeaderMap) -> Self {
        let passing = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT;
        if !passing {
            return Fault::Lasting(message);
        }
        let seconds = headers.get(RETRY_AFTER);
        let seconds = seconds.and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        let seconds =
            seconds.or_else(|| until_reset(headers).filter(|_| status == StatusCode::TOO_MANY_REQUESTS));
        Fault::Passing(message, seconds.map(Duration::from_secs))
    }
}

/// Seconds until the quota resets, if none is left: `RateLimit: "api";r=0;t=55`
/// (draft-ietf-httpapi-ratelimit-headers-09), which the Hub sends.
fn until_reset(headers: &HeaderMap) -> Option<u64> {
    let limit = headers.get("ratelimit")?.to_str().ok()?;
    let value = |name: &str| {
        let mut parts = limit.split(';');
        parts.find_map(|part| part.trim().strip_prefix(name)?.parse::<u64>().ok())
    };
    value("t=").filter(|_| value("r=") == Some(0))
}

/// The message with its causes: "error sending request" alone says nothing.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = inner.source();
    }
    message
}

/// Counts consecutive failures.
#[derive(Debug)]
pub struct Attempts<'a> {
    policy: &'a RetryPolicy,
    failures: u32,
    /// How many may fail without a connection.
    unreachable: u32,
    /// Bytes that had arrived at the last progress.
    at_progress: u64,
}

/// Fewer bytes are no progress: otherwise a store that sends a little and fails each time would be retried forever.
const PROGRESS: u64 = 1 << 20;

/// Attempts at a connection for the first question: some two seconds.
const FIRST_CONNECTIONS: u32 = 3;

impl<'a> Attempts<'a> {
    /// No failures yet.
    pub fn new(policy: &'a RetryPolicy) -> Self {
        Attempts {
            policy,
            failures: 0,
            unreachable: policy.attempts,
            at_progress: 0,
        }
    }

    /// No failures yet, of the first question to a server.
    pub fn first(policy: &'a RetryPolicy) -> Self {
        Attempts {
            unreachable: policy.attempts.min(FIRST_CONNECTIONS),
            ..Self::new(policy)
        }
    }

    /// Resets the count if enough has arrived since the last time; `bytes` are those since the first attempt.
    pub fn arrived(&mut self, bytes: u64) {
        if bytes >= self.at_progress + PROGRESS {
            self.failures = 0;
            self.at_progress = bytes;
        }
    }

    /// Waits before the next attempt at `what`.
    ///
    /// # Errors
    /// The fault is lasting, or there were too many consecutive ones.
    pub async fn after(&mut self, what: &str, fault: Fault) -> Result<(), String> {
        let (message, asked, most) = match fault {
            Fault::Lasting(message) => return Err(format!("{what}: {message}")),
            Fault::Passing(message, asked) => (message, asked, self.policy.attempts),
            Fault::Unreachable(message) => (message, None, self.unreachable),
        };
        self.failures += 1;
        if self.failures >= most {
            let failures = self.failures;
            return Err(format!(
                "{what}: {message}; given up after {failures} attempts in a row"
            ));
        }
        let wait = self.policy.wait(self.failures, asked);
        tracing::warn!("{what}: {message}; waiting {wait:.1?} before the next attempt");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_question_without_a_connection_is_given_up_soon() {
        let policy = RetryPolicy {
            first_wait: Duration::from_micros(1),
            ..RetryPolicy::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let until_given_up = |mut attempts: Attempts<'_>, fault: fn(String) -> Fault| {
            let mut failures = 1;
            while runtime
                .block_on(attempts.after("ask", fault("no".to_owned())))
                .is_ok()
            {
                failures += 1;
            }
            failures
        };
        let passing = |message| Fault::Passing(message, None);
        assert_eq!(until_given_up(Attempts::first(&policy), Fault::Unreachable), 3);
        assert_eq!(until_given_up(Attempts::first(&policy), passing), 8);
        assert_eq!(until_given_up(Attempts::new(&policy), Fault::Unreachable), 8);
        // A server that is asked once is asked once.
        let once = RetryPolicy {
            attempts: 1,
            ..policy
        };
        assert_eq!(until_given_up(Attempts::first(&once), Fault::Unreachable), 1);
    }

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
