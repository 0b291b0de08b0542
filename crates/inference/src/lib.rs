//! Text in, text out: a checkpoint with its tokenizer and its chat template.
//!
//! [`TextModel`] opens the folder once; [`Continuation`] says how a text goes on; [`Pieces`] turns tokens that come one
//! by one into text that can be shown. Whoever talks to a model goes through here: the terminal, the server, evaluations
//! and the makers of data.

mod error;
mod pieces;
mod text_model;

pub use error::{InferenceError, Result};
pub use pieces::Pieces;
pub use text_model::{Continuation, TextModel};
