//! Where conversations come from: rows of files, or a generator.

use serde_json::Value;
use smollm3_chat::Conversation;
use smollm3_corpus::read::{ValueBatch, count_rows, rows_of};
use smollm3_corpus::shards::{CacheOptions, Shards, open_rows};
use smollm3_recipe::{Conversations, Recipe, Sums};

use crate::{Result, SftError, sum, sum_conversation};

/// Rows of generated conversations that are made at once.
const GENERATED: u64 = 1_000;

/// Some consecutive rows.
#[derive(Debug)]
pub enum RowBatch {
    /// Of a file.
    File(ValueBatch),
    /// Generated, from this number on.
    Sums(u64, Vec<Value>),
}

impl RowBatch {
    /// The rows.
    pub fn rows(&self) -> &[Value] {
        match self {
            Self::File(batch) => &batch.rows,
            Self::Sums(_, rows) => rows,
        }
    }

    /// What messages call row `index`.
    pub fn place(&self, index: usize) -> String {
        match self {
            Self::File(batch) => batch.place(index),
            Self::Sums(first, _) => format!("sum {}", first + index as u64),
        }
    }
}

/// Conversations of one `[[stage.data]]`.
pub enum Rows {
    /// Files.
    Files(Box<dyn Shards>),
    /// Sums.
    Sums(Sums),
}

impl Rows {
    /// Finds the files of `data`.
    ///
    /// # Errors
    /// There are none.
    pub fn open(recipe: &Recipe, data: &Conversations, cache: &CacheOptions) -> Result<Self> {
        if let Some(sums) = &data.sums {
            return Ok(Self::Sums(sums.clone()));
        }
        let paths: Vec<String> = data.paths.iter().map(|path| recipe.address(path)).collect();
        Ok(Self::Files(open_rows(&data.name, &paths, cache)?))
    }

    /// What stands for their contents.
    pub fn identity(&self) -> Value {
        match self {
            Self::Sums(sums) => serde_json::json!(sums),
            Self::Files(files) => files
                .shards()
                .iter()
                .map(|shard| serde_json::json!([shard.name, shard.bytes, shard.version]))
                .collect(),
        }
    }

    /// How many there are.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn count(&self) -> Result<u64> {
        match self {
            Self::Sums(sums) => Ok(sums.conversations),
            Self::Files(files) => {
                let mut rows = 0;
                for (index, shard) in files.shards().iter().enumerate() {
                    rows += count_rows(files.open(index)?.path(), &shard.name)?;
                }
                Ok(rows)
            }
        }
    }

    /// Gives all rows, in order, to `each`.
    ///
    /// # Errors
    /// A file cannot be read, or `each` fails.
    pub fn each(&self, mut each: impl FnMut(RowBatch) -> Result<()>) -> Result<()> {
        match self {
            Self::Sums(sums) => {
                for first in (0..sums.conversations).step_by(GENERATED as usize) {
                    let last = sums.conversations.min(first + GENERATED);
                    each(RowBatch::Sums(
                        first,
                        (first..last).map(|index| generated(sums, index)).collect(),
                    ))?;
                }
            }
            Self::Files(files) => {
                for batch in rows_of(files.as_ref()) {
                    each(RowBatch::File(batch?))?;
                }
            }
        }
        Ok(())
    }
}

fn generated(sums: &Sums, index: u64) -> Value {
    let conversation = sum_conversation(&sum(sums.seed, index), sums.think);
    serde_json::json!(conversation)
}

/// A row as a conversation.
pub(crate) fn conversation(batch: &RowBatch, index: usize) -> Result<Conversation> {
    let row = batch.rows().get(index).unwrap_or(&Value::Null);
    Conversation::from_row(row).map_err(|source| SftError::Row {
        place: batch.place(index),
        source,
    })
}
