mod bucket;
mod download;
mod hub;
mod location;

use std::time::Duration;

use smollm3_corpus::remote::{RemoteClient, RetryPolicy};

/// Quick enough for tests: three attempts, a quarter of a second without a byte is a stall.
pub fn policy() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        stall: Duration::from_millis(250),
    }
}

/// A client with these variables and nothing from the process's environment.
pub fn client(environment: &[(&str, &str)]) -> RemoteClient {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    RemoteClient::with_environment(policy(), environment).unwrap()
}

/// Bytes that repeat nowhere near.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}
