//! Conversations in, tokens and loss masks out.
//!
//! ```text
//! row ── Conversation ── Template::render ── Rendered ── encode ── Encoded ── Template::mask
//! ```
//!
//! * [`conversation`]: rows of a data set, checked; [`pair`]: preference pairs; `dialect`: the forms that they have.
//! * [`template`]: Jinja chat templates, built in, of a checkpoint or one's own, rendered as transformers does.
//! * [`fit`]: what a template does not know, in a form that it does; [`drops`]: what it leaves out; [`quoting`]: special
//!   tokens that the content spells.
//! * [`mod@encode`]: tokens, and which of them are the assistant's.
//! * [`tokens`]: the tokens that mark turns, checked and added.
//! * [`explain`]: a row token by token, for people.
//! * [`spoken`]: the answer without the thought before it.
//!
//! This crate knows nothing of devices, models or recipes, and nothing of the clock.

mod built_in;
mod checkpoint;
mod column;
mod continuation;
pub mod conversation;
mod dialect;
mod dropped;
pub mod drops;
pub mod encode;
mod environment;
pub mod error;
pub mod explain;
pub mod fit;
mod generation;
mod message;
mod methods;
pub mod pair;
mod python;
pub mod quoting;
mod rendered;
mod spelled_token;
pub mod template;
mod thought;
pub mod tokens;

pub use chrono::NaiveDate;
pub use conversation::Conversation;
pub use dropped::Dropped;
pub use encode::{Encoded, Learned, encode, encode_prompt};
pub use error::{ChatError, Result};
pub use pair::{Pair, PairText, RenderedPair, render_pair};
pub use quoting::spelled_token;
pub use rendered::{Render, Rendered};
pub use spelled_token::SpelledToken;
pub use template::Template;
pub use thought::spoken;
