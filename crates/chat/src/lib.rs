//! Conversations in, tokens and loss masks out.
//!
//! ```text
//! row ── Conversation ── Template::render ── Rendered ── encode ── Encoded ── Template::mask
//! ```
//!
//! * [`conversation`]: rows of a data set, checked; [`pair`]: preference pairs; `dialect`: the forms in which rows are written.
//! * [`template`]: Jinja chat templates (built-in, a checkpoint's or the user's), rendered as in transformers.
//! * [`fit`]: rewrites what a template does not support; [`drops`]: detects what it leaves out; [`quoting`]: special tokens
//!   spelt in content.
//! * [`mod@encode`]: tokens, and which of them are the assistant's.
//! * [`tokens`]: checks and adds the tokens that mark turns.
//! * [`json_text`]: JSON as Python writes it.
//! * [`explain`]: a row token by token, for people.
//! * [`spoken`]: an answer without its thought.
//!
//! This crate knows nothing of devices, models or recipes, and nothing of the clock.

mod built_in;
mod checkpoint;
mod continuation;
pub mod conversation;
mod dialect;
pub mod drops;
pub mod encode;
mod environment;
pub mod error;
pub mod explain;
pub mod fit;
mod generation;
pub mod json_text;
mod message;
mod methods;
pub mod pair;
mod python;
pub mod quoting;
mod rendered;
pub mod template;
pub mod tokens;

pub use chrono::NaiveDate;
pub use conversation::Conversation;
pub use encode::{Encoded, Learned, encode, encode_prompt};
pub use error::{ChatError, Dropped, Result, SpelledToken};
pub use message::spoken;
pub use pair::{Pair, PairText, RenderedPair, render_pair};
pub use quoting::spelled_token;
pub use rendered::{Render, Rendered};
pub use template::Template;
