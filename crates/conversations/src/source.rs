//! Sources of conversations: files of rows, or generators.

use serde_json::{Value, json};
use smollm3_chat::Conversation;
use smollm3_corpus::read::{Columns, Replaced, ValueBatch, count_rows, rows_of};
use smollm3_corpus::shards::{CacheOptions, LocalShards, Shards, open_rows};
use smollm3_files::hash_file;
use smollm3_recipe::{Conversations, Recipe, Sums};

use crate::error::{ConversationsError, Result};
use crate::passages::passages;

/// Generated conversations per batch.
const GENERATED: u64 = 1_000;

/// Some consecutive rows.
#[derive(Debug)]
pub enum RowBatch {
    /// From a file.
    File(ValueBatch),
    /// Generated: the word for a row, and the index of the first.
    Generated(&'static str, u64, Vec<Value>),
}

impl RowBatch {
    /// The rows.
    pub fn rows(&self) -> &[Value] {
        match self {
            Self::File(batch) => &batch.rows,
            Self::Generated(_, _, rows) => rows,
        }
    }

    /// Replacements made in row `index` on reading.
    pub fn replaced(&self, index: usize) -> Replaced {
        match self {
            Self::File(batch) => batch.replaced(index),
            Self::Generated(..) => Replaced::default(),
        }
    }

    /// The place of row `index`, for messages.
    pub fn place(&self, index: usize) -> String {
        match self {
            Self::File(batch) => batch.place(index),
            Self::Generated(what, first, _) => format!("{what} {}", first + index as u64 + 1),
        }
    }
}

/// Conversations of one `[[stage.data]]`.
pub enum SourceRows {
    /// Files on this machine.
    Local(LocalShards),
    /// Remote files, fetched when needed.
    Remote(Box<dyn Shards>),
    /// Sums.
    Sums(Sums, Generator),
    /// Passages of a source.
    Passages(Vec<Value>),
}

/// Makes row `index` of generated data.
pub type Generator = fn(&Sums, u64) -> Value;

impl SourceRows {
    /// Opens the rows of `data`; sums are `generated`.
    ///
    /// # Errors
    /// There are no files, or the source of passages cannot be read.
    pub fn open(
        recipe: &Recipe,
        data: &Conversations,
        cache: &CacheOptions,
        generated: Generator,
    ) -> Result<Self> {
        if let Some(sums) = &data.sums {
            return Ok(Self::Sums(sums.clone(), generated));
        }
        if let Some(wanted) = &data.passages {
            return Ok(Self::Passages(passages(recipe, wanted)?));
        }
        let paths: Vec<String> = data.paths.iter().map(|path| recipe.address(path)).collect();
        Ok(match paths.iter().any(|path| path.contains("://")) {
            true => Self::Remote(open_rows(&data.name, &paths, cache)?),
            false => Self::Local(LocalShards::find(&data.name, &paths)?),
        })
    }

    fn files(&self) -> Option<&dyn Shards> {
        match self {
            Self::Local(files) => Some(files),
            Self::Remote(files) => Some(files.as_ref()),
            Self::Sums(..) | Self::Passages(_) => None,
        }
    }

    /// The identity of their contents: hashes, or the versions of an object store.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn identity(&self) -> Result<Value> {
        match self {
            Self::Sums(sums, _) => Ok(json!(sums)),
            Self::Passages(rows) => {
                let rows = json!(rows).to_string();
                Ok(Value::from(blake3::hash(rows.as_bytes()).to_hex().to_string()))
            }
            Self::Remote(files) => {
                let shards = files.shards().iter();
                Ok(shards
                    .map(|shard| json!([shard.name, shard.bytes, shard.version]))
                    .collect())
            }
            Self::Local(files) => {
                let hash = |index| {
                    Ok(Value::from(
                        hash_file(files.open(index)?.path())?.to_hex().to_string(),
                    ))
                };
                (0..files.shards().len()).map(hash).collect()
            }
        }
    }

    /// The number of rows.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn count(&self) -> Result<u64> {
        match self {
            Self::Sums(sums, _) => Ok(sums.conversations),
            Self::Passages(rows) => Ok(rows.len() as u64),
            Self::Local(_) | Self::Remote(_) => {
                let mut rows = 0;
                if let Some(files) = self.files() {
                    for (index, shard) in files.shards().iter().enumerate() {
                        rows += count_rows(files.open(index)?.path(), &shard.name)?;
                    }
                }
                Ok(rows)
            }
        }
    }

    /// Calls `each` with all rows and their `columns`, in order.
    ///
    /// # Errors
    /// A file cannot be read, or `each` fails.
    pub fn each(&self, columns: &Columns, mut each: impl FnMut(RowBatch) -> Result<()>) -> Result<()> {
        match self {
            Self::Sums(sums, generated) => {
                for first in (0..sums.conversations).step_by(GENERATED as usize) {
                    let last = sums.conversations.min(first + GENERATED);
                    let rows = (first..last).map(|index| generated(sums, index)).collect();
                    each(RowBatch::Generated("sum", first, rows))?;
                }
            }
            Self::Passages(rows) => {
                for (number, rows) in rows.chunks(GENERATED as usize).enumerate() {
                    let first = number as u64 * GENERATED;
                    each(RowBatch::Generated("passage", first, rows.to_vec()))?;
                }
            }
            Self::Local(_) | Self::Remote(_) => {
                for batch in self.files().into_iter().flat_map(|files| rows_of(files, columns)) {
                    each(RowBatch::File(batch?))?;
                }
            }
        }
        Ok(())
    }
}

/// A row as a conversation.
///
/// # Errors
/// The row holds no valid conversation.
pub fn conversation(batch: &RowBatch, index: usize) -> Result<Conversation> {
    let row = batch.rows().get(index).unwrap_or(&Value::Null);
    Conversation::from_row(row).map_err(|source| ConversationsError::Row {
        place: batch.place(index),
        source,
    })
}
