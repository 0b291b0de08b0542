//! Conversations as tokens and loss masks, for every stage that trains on them.
//!
//! ```text
//! rows of files ── sources ── chat template ── tokens and mask ── store
//! ```
//!
//! [`Prepared`] tokenises once and caches the result. Each stage has a [`RowEncoder`]; [`ConversationEncoder`] is the one of
//! fine-tuning.

mod document;
mod encoder;
mod error;
mod passages;
mod prepared;
mod source;
mod store;
mod sum_pairs;
mod sums;
mod template;

pub use document::{Document, Encoded, RowEncoder};
pub use encoder::ConversationEncoder;
pub use error::{ConversationsError, Result};
pub use prepared::{Earlier, Prepared, Report, measured_rows};
pub use source::{Generator, RowBatch, SourceRows, conversation};
pub use store::{ConversationStore, ConversationWriter};
pub use sum_pairs::sum_pair;
pub use sums::{Problem, sum, sum_conversation};
pub use template::{ChatSetup, chat_checkpoints, stage_tokenizer};
