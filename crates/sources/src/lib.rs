//! A recipe's sources: their text, the tokenizer, and their token stores.
//!
//! [`Data`] is prepared once in the run's folder and then reused. No tensors.

mod data;
mod error;
mod source_text;

pub use data::{Data, SourceStore, TOKENIZER};
pub use error::{Result, SourceError};
pub use source_text::source_sample;
