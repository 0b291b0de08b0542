//! Conversations in, tokens and loss masks out.
//!
//! ```text
//! row ── Conversation ── Template::render ── Rendered ── encode ── Encoded ── Template::mask
//! ```
//!
//! * [`conversation`]: rows of a data set, checked; [`pair`]: preference pairs.
//! * [`template`]: Jinja chat templates, built in, of a checkpoint or one's own, rendered as transformers does.
//! * [`mod@encode`]: tokens, and which of them are the assistant's.
//! * [`tokens`]: the tokens that mark turns, checked and added.
//! * [`explain`]: a row token by token, for people.
//! * [`spoken`]: the answer without the thought before it.
//!
//! This crate knows nothing of devices, models or recipes, and nothing of the clock.

mod checkpoint;
mod continuation;
pub mod conversation;
pub mod encode;
mod environment;
pub mod error;
pub mod explain;
mod generation;
mod methods;
pub mod pair;
mod python;
pub mod template;
mod thought;
pub mod tokens;

pub use chrono::NaiveDate;
pub use conversation::Conversation;
pub use encode::{Encoded, Learned, encode, encode_prompt};
pub use error::{ChatError, Result};
pub use pair::{Pair, RenderedPair, render_pair};
pub use template::{Render, Rendered, Template};
pub use thought::spoken;
