//! What a request may ask for: so much that it fits the model's context and the machine's memory.

use std::time::Duration;

/// What a server takes on.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests at once, those that wait included; more get a 503.
    pub requests: usize,
    /// Bytes of a request.
    pub body: usize,
    /// Prompts of a request times continuations of each.
    pub rows: usize,
    /// Tokens that are kept at once: rows of a batch times the longest of them, prompt and what is asked for together. A
    /// single row may fill the context.
    pub batch_tokens: usize,
    /// Open connections; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a client may take to send the head of a request, and its body; also how long a connection may be idle.
    pub sending: Duration,
}

/// Tokens of a request, in batches.
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
    /// Tokens of all rows of a request, prompts and what is asked for; a single row may fill the context.
    pub(crate) fn request_tokens(&self) -> usize {
        self.batch_tokens.saturating_mul(BATCHES)
    }
}
