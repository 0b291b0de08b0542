//! Encoded rows: documents of tokens and loss masks.

use std::collections::BTreeSet;

use serde_json::Value;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::Columns;

use crate::error::Result;
use crate::source::{Generator, RowBatch};

/// Tokens that attend to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Which of them are learned.
    pub learned: Vec<bool>,
}

/// An encoded row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// Its documents.
    Kept {
        /// The same number for each row.
        documents: Vec<Document>,
        /// Rows of the same text are held out together.
        held_out_by: String,
        /// The kinds of content that the template left out.
        dropped: BTreeSet<&'static str>,
    },
    /// Left out, for this reason.
    LeftOut(&'static str),
}

/// Encodes the rows of a stage.
pub trait RowEncoder: Sync {
    /// Its settings, for fingerprints.
    fn identity(&self) -> Value;

    /// The columns of rows that it reads.
    fn columns(&self) -> Columns;

    /// Makes rows of generated data.
    fn generator(&self) -> Generator;

    /// Encodes a row.
    ///
    /// # Errors
    /// [`ConversationsError::Row`](crate::ConversationsError::Row) if the row is invalid.
    fn encode(&self, tokenizer: &Tokenizer, batch: &RowBatch, index: usize) -> Result<Encoded>;
}
