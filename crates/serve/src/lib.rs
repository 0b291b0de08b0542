//! A checkpoint behind OpenAI's HTTP interface, so that programs written for it (lm-evaluation-harness, lighteval, the
//! `openai` packages) measure and use what was trained here without a change.
//!
//! ```text
//! request ── wire ── completion, chat ── Queue ── worker (one thread, the model) ── events ── reply ── response
//! ```
//!
//! Axum on tokio carries it: a client that leaves is noticed at once, which ends its generation, and streams cost no
//! thread. The model computes one request at a time, its texts in batches; what waits and what is kept is bounded.

mod answer;
mod batches;
mod chat;
mod checks;
mod completion;
mod connections;
mod error;
mod hosts;
mod limits;
mod messages;
mod queue;
mod reply;
mod server;
mod shared;
mod token_text;
mod tool_call;
mod wire;
mod worker;

pub use error::{Result, ServeError};
pub use limits::Limits;
pub use server::{Server, Settings};
