//! A recipe's sources: where their text comes from, the tokenizer, and the token stores that they become.
//!
//! [`Data`] is everything that a recipe reads, prepared once in the run's folder and found again. No tensors.

mod data;
mod error;
mod source_text;

pub use data::{Data, SourceStore, TOKENIZER};
pub use error::{Result, SourceError};
pub use source_text::source_sample;
