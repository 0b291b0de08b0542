//! Training on conversations: reasoning mid-training and supervised fine-tuning.
//!
//! ```text
//! rows of files ── sources ── chat template ── tokens and mask ── store ── packed rows ── the engine's loop
//! ```
//!
//! [`Prepared`] tokenises once and keeps the result; [`PackedRows`] says which conversations share a row and which row
//! comes when; [`fine_tune`] runs a stage. The loop, its checkpoints and its guards are the engine's.

mod encoder;
mod error;
mod packed;
mod passages;
mod prepared;
mod source;
mod stage;
mod store;
mod sums;
mod template;

pub use encoder::{ConversationEncoder, Document, Encoded, RowEncoder};
pub use error::{Result, SftError};
pub use packed::{Ledger, PackedRows, read_ledger};
pub use prepared::{Prepared, Report, measured_rows, prepare_conversations, prepared_data};
pub use source::{Generator, RowBatch, Rows, conversation};
pub use stage::fine_tune;
pub use store::{ConversationStore, ConversationWriter};
pub use sums::{Problem, sum, sum_conversation};
pub use template::{ChatSetup, stage_tokenizer};
