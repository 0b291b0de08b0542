//! Serves a checkpoint with OpenAI's HTTP API, for programs written for it: lm-evaluation-harness, lighteval, the `openai`
//! packages.
//!
//! ```text
//! request ── wire ── completion, chat ── Queue ── worker (one thread, the model) ── events ── reply ── response
//! ```
//!
//! It is built on axum and tokio: a client that leaves is detected at once, which ends its generation, and streams need no
//! thread. The model processes one request at a time, its texts in batches; queue and memory are bounded.

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
mod write_timeout;

pub use error::{Result, ServeError};
pub use limits::Limits;
pub use server::{Server, Settings};
