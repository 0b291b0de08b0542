//! What becomes of a row: documents of tokens, and which of them the loss is about.

use std::collections::BTreeSet;

use serde_json::Value;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::Columns;

use crate::error::Result;
use crate::source::{Generator, RowBatch};

/// Tokens that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Which of them the loss is about.
    pub learned: Vec<bool>,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// Its documents.
    Kept {
        /// As many for each row.
        documents: Vec<Document>,
        /// Rows of the same text are held out together.
        held_out_by: String,
        /// Kinds of what the template does not write of it.
        dropped: BTreeSet<&'static str>,
    },
    /// It is left out, for this reason.
    LeftOut(&'static str),
}

/// What a stage makes of its rows.
pub trait RowEncoder: Sync {
    /// Stands for its settings.
    fn identity(&self) -> Value;

    /// The columns of rows that it reads.
    fn columns(&self) -> Columns;

    /// Makes rows of generated data.
    fn generator(&self) -> Generator;

    /// What becomes of a row.
    ///
    /// # Errors
    /// [`ConversationsError::Row`](crate::ConversationsError::Row) if it is not what the stage reads.
    fn encode(&self, tokenizer: &Tokenizer, batch: &RowBatch, index: usize) -> Result<Encoded>;
}
