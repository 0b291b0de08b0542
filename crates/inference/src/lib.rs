//! Text in, text out: a checkpoint with its tokenizer and its chat template.
//!
//! [`TextModel`] opens the folder once; [`Continuation`] says how a text is continued; [`Pieces`] turns tokens that come one
//! by one into text that can be shown; [`TextModel::continue_texts`] does it for several texts at once, and [`score()`]
//! scores texts; [`checkpoint_hash()`] identifies the model. The terminal, the server, evaluations and synthesis use it.

mod checkpoint_hash;
mod continued;
mod error;
mod pieces;
mod score;
mod text_model;

pub use checkpoint_hash::checkpoint_hash;
pub use continued::{End, Growing, Step};
pub use error::{InferenceError, Result};
pub use pieces::Pieces;
pub use score::{TextScore, TokenScore, score};
pub use text_model::{Continuation, TextModel, check_vocabulary};
