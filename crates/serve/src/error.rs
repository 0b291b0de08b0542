//! Errors of the server. Those of requests are [`crate::wire::Refusal`]s.

use std::io;

/// A result with a [`ServeError`].
pub type Result<T> = std::result::Result<T, ServeError>;

/// The server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, not of this machine, or not permitted.
    #[error("cannot listen on {address}: {source}; choose another --host or --port")]
    Listen {
        /// The address asked for.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The system refused a thread or a socket.
    #[error("the server cannot continue: {0}")]
    System(#[from] io::Error),
}
