//! What keeps a server from serving. What is wrong with a request is a [`crate::wire::Refusal`].

use std::io;

/// A result with a [`ServeError`].
pub type Result<T> = std::result::Result<T, ServeError>;

/// The server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, not this machine's, or not allowed.
    #[error("cannot listen on {address}: {source}; choose another --host or --port")]
    Listen {
        /// The address asked for.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No thread or socket could be had.
    #[error("the server cannot go on: {0}")]
    System(#[from] io::Error),
}
