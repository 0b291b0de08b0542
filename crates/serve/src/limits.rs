//! Limits that keep requests within the machine's memory.

use std::time::Duration;

/// Limits on requests and connections.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Concurrent requests, including those in the queue; more get a 503.
    pub requests: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Prompts of a request times continuations of each.
    pub rows: usize,
    /// Tokens of a batch: its rows times the longest of them, prompt and new tokens. A single row may fill the context.
    pub batch_tokens: usize,
    /// Open connections; more wait in the system's backlog.
    pub connections: usize,
    /// Timeout for sending the head of a request, for its body, for idle connections, and for clients that take nothing of
    /// their answer.
    pub sending: Duration,
}

/// Maximum number of full batches of a request.
const BATCHES: usize = 8;

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 64,
            body: 8 << 20,
            rows: 512,
            batch_tokens: 65_536,
            connections: 256,
            sending: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Tokens of all rows of a request, prompts and new tokens; a single row may fill the context.
    pub(crate) fn request_tokens(&self) -> usize {
        self.batch_tokens.saturating_mul(BATCHES)
    }
}
