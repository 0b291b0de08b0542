//! Inspects files of rows: their kind, and the lengths of rows.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use smollm3_chat::{Conversation, Pair};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::{Columns, open_values};
use smollm3_corpus::shards::{LocalShards, Shards};

/// Maximum number of rows to read, spread over the files.
const MOST_ROWS: usize = 20_000;
/// Assumed characters per token without a tokenizer.
const CHARACTERS: usize = 4;
/// Approximate tokens that a template adds to a message.
const TURN: usize = 6;

/// The kind of rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// Conversations, or questions with answers.
    Conversations,
    /// Preference pairs.
    Pairs,
    /// Text in this column.
    Text(String),
}

/// Files of one kind.
#[derive(Debug)]
pub struct RowFiles {
    /// Their kind.
    pub kind: RowKind,
    /// Absolute paths, as in a recipe.
    pub paths: Vec<PathBuf>,
    /// Their size.
    pub bytes: u64,
    /// Columns of the first row.
    pub columns: Vec<String>,
    /// Tokens of each row read, sorted; for pairs, of the prompt with the longer answer.
    pub lengths: Vec<usize>,
    /// Whether there are more rows than were read.
    pub more: bool,
    /// Number of rows of another kind than the first of their file, and the first problem.
    pub unlike: Option<(usize, String)>,
}

impl RowFiles {
    /// The quantile of the lengths.
    pub fn quantile(&self, part: f64) -> usize {
        let last = self.lengths.len().saturating_sub(1);
        let place = (part * last as f64).round() as usize;
        self.lengths.get(place).copied().unwrap_or(0)
    }

    /// Number of rows read.
    fn read(&self) -> usize {
        self.lengths.len() + self.unlike.as_ref().map_or(0, |(count, _)| *count)
    }

    /// Approximate number of tokens in the files.
    pub fn all_tokens(&self) -> u64 {
        let read = self.lengths.iter().map(|length| *length as u64).sum();
        match self.more {
            false => read,
            true => read.max(self.bytes / (CHARACTERS as u64 + 1)),
        }
    }
}

/// Inspects the files of `paths`.
///
/// # Errors
/// There are none, a file cannot be read, or has no rows of a known kind.
pub fn look(paths: &[String], tokenizer: Option<&Tokenizer>) -> Result<Vec<RowFiles>> {
    let is_table = |path: &&String| {
        let lower = path.to_ascii_lowercase();
        [".csv", ".tsv", ".xlsx"]
            .iter()
            .any(|ending| lower.ends_with(ending))
    };
    if let Some(path) = paths.iter().find(is_table) {
        bail!(
            "{path}: tables are not read; convert it to JSON lines or Parquet, for example with Python's \
             pandas.read_csv(\"{path}\").to_json(\"rows.jsonl\", orient=\"records\", lines=True)"
        );
    }
    let files = LocalShards::find("data", paths)?;
    let count = files.shards().len();
    let mut found: Vec<RowFiles> = Vec::new();
    for (index, shard) in files.shards().iter().enumerate() {
        let file = files.open(index)?;
        let path = std::path::absolute(file.path()).with_context(|| shard.name.clone())?;
        let most = MOST_ROWS.div_ceil(count);
        let one = look_at(path, &shard.name, shard.bytes, most, tokenizer)?;
        match found.iter_mut().find(|other| other.kind == one.kind) {
            None => found.push(one),
            Some(other) => {
                other.paths.extend(one.paths);
                other.bytes += one.bytes;
                other.lengths.extend(one.lengths);
                other.more |= one.more;
                other.unlike = match (other.unlike.take(), one.unlike) {
                    (Some((count, first)), Some((more, _))) => Some((count + more, first)),
                    (before, here) => before.or(here),
                };
            }
        }
    }
    found.iter_mut().for_each(|found| found.lengths.sort_unstable());
    found.sort_by(|a, b| a.kind.cmp(&b.kind));
    Ok(found)
}

fn look_at(
    path: PathBuf,
    name: &str,
    bytes: u64,
    most: usize,
    tokenizer: Option<&Tokenizer>,
) -> Result<RowFiles> {
    let mut found: Option<RowFiles> = None;
    'file: for batch in open_values(&path, name, &Columns::All)? {
        let batch = batch?;
        for (index, row) in batch.rows.iter().enumerate() {
            let found = match &mut found {
                Some(found) => found,
                None => {
                    let columns = columns(row);
                    let kind =
                        kind(row).map_err(|problem| anyhow::anyhow!("{}: {problem}", batch.place(index)))?;
                    found.insert(RowFiles {
                        kind,
                        paths: vec![path.clone()],
                        bytes,
                        columns,
                        lengths: Vec::new(),
                        more: false,
                        unlike: None,
                    })
                }
            };
            if found.read() == most {
                found.more = true;
                break 'file;
            }
            match length(&found.kind, row, tokenizer) {
                Ok(length) => found.lengths.push(length),
                Err(problem) => {
                    let place = batch.place(index);
                    let (count, _) = found.unlike.get_or_insert((0, format!("{place}: {problem}")));
                    *count += 1;
                }
            }
        }
    }
    match found {
        Some(found) => Ok(found),
        None => bail!("{name} has no rows"),
    }
}

fn columns(row: &Value) -> Vec<String> {
    let keys = row.as_object().into_iter().flatten();
    keys.map(|(key, _)| key.clone()).collect()
}

/// The kind of a row.
fn kind(row: &Value) -> Result<RowKind, String> {
    let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
    if has("chosen") && has("rejected") {
        return Pair::from_row(row)
            .map(|_| RowKind::Pairs)
            .map_err(|error| error.to_string());
    }
    let Err(error) = Conversation::from_row(row) else {
        return Ok(RowKind::Conversations);
    };
    // A malformed conversation.
    let of_conversations = ["messages", "conversations", "completion", "instruction"];
    if of_conversations.iter().any(|name| has(name)) {
        return Err(error.to_string());
    }
    text_column(row).map(RowKind::Text).ok_or_else(|| {
        let columns = columns(row);
        let found = match columns.as_slice() {
            [] => "the row has no columns".to_owned(),
            columns => format!("none of the columns is text ({})", columns.join(", ")),
        };
        format!(
            "{found}; conversations have messages, conversations, prompt and completion, or instruction and output; pairs have \
             chosen and rejected; text is in a column such as `text`"
        )
    })
}

/// The column of the text: `text`, `content`, or the one with the longest text.
fn text_column(row: &Value) -> Option<String> {
    let texts: Vec<(&String, &str)> = row
        .as_object()?
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .collect();
    let named = ["text", "content"]
        .iter()
        .find_map(|name| texts.iter().find(|(key, _)| key == name));
    let longest = || texts.iter().max_by_key(|(_, text)| text.len());
    named.or_else(longest).map(|(key, _)| (*key).clone())
}

/// Approximate number of tokens of a row.
fn length(kind: &RowKind, row: &Value, tokenizer: Option<&Tokenizer>) -> Result<usize, String> {
    let tokens = |text: &str| match tokenizer.map(|tokenizer| tokenizer.encode(text)) {
        Some(Ok(ids)) => ids.len(),
        _ => text.chars().count().div_ceil(CHARACTERS),
    };
    let of_messages = |messages: &[Value]| -> usize {
        let texts = messages.iter().map(|message| match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        });
        texts.map(|text| tokens(&text) + TURN).sum()
    };
    match kind {
        RowKind::Conversations => {
            let talk = Conversation::from_row(row).map_err(|error| error.to_string())?;
            let tools = talk
                .tools
                .map_or(0, |tools| tokens(&Value::from(tools).to_string()));
            Ok(of_messages(&talk.messages) + tools)
        }
        RowKind::Pairs => {
            let pair = Pair::from_row(row).map_err(|error| error.to_string())?;
            let answer = of_messages(&pair.chosen).max(of_messages(&pair.rejected));
            Ok(of_messages(&pair.prompt) + answer)
        }
        RowKind::Text(column) => match row.get(column).and_then(Value::as_str) {
            Some(text) => Ok(tokens(text) + 1),
            None => Err(format!("has no text in `{column}`")),
        },
    }
}

/// Columns that are not read.
pub fn unused(found: &RowFiles) -> BTreeSet<&str> {
    let read: Vec<&str> = match &found.kind {
        RowKind::Conversations => Conversation::COLUMNS.to_vec(),
        RowKind::Pairs => Pair::COLUMNS.to_vec(),
        RowKind::Text(column) => vec![column.as_str()],
    };
    let columns = found.columns.iter().map(String::as_str);
    columns.filter(|column| !read.contains(column)).collect()
}
