//! A look at files of rows: what they hold, and how long they are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use smollm3_chat::{Conversation, Pair};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::{Columns, open_values};
use smollm3_corpus::shards::{LocalShards, Shards};

/// Rows that are looked at, spread over the files.
const MOST_ROWS: usize = 20_000;
/// Characters that a token is taken to stand for where there is no tokenizer.
const CHARACTERS: usize = 4;
/// Tokens that a template writes around a message, about.
const TURN: usize = 6;

/// What rows hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// Conversations, or questions with answers.
    Conversations,
    /// Pairs of answers.
    Pairs,
    /// Text in this column.
    Text(String),
}

/// Files of one kind.
#[derive(Debug)]
pub struct Found {
    /// What they hold.
    pub kind: RowKind,
    /// As they are named in a recipe: whole paths.
    pub paths: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// Columns of the first row.
    pub columns: Vec<String>,
    /// Tokens of each row that was looked at, sorted; of pairs, of the prompt with the longer answer.
    pub lengths: Vec<usize>,
    /// Whether there are more rows than were looked at.
    pub more: bool,
    /// Rows that are not what the first of their file is, and why the first of them is not.
    pub unlike: Option<(usize, String)>,
}

impl Found {
    /// The length that a part of the rows does not exceed.
    pub fn quantile(&self, part: f64) -> usize {
        let last = self.lengths.len().saturating_sub(1);
        let place = (part * last as f64).round() as usize;
        self.lengths.get(place).copied().unwrap_or(0)
    }

    /// Tokens of all rows that were looked at.
    pub fn tokens(&self) -> u64 {
        self.lengths.iter().map(|length| *length as u64).sum()
    }

    /// About how many tokens all of it has: the rows that were looked at, or as much more as the files are larger.
    pub fn all_tokens(&self) -> u64 {
        match self.more {
            false => self.tokens(),
            true => self.tokens().max(self.bytes / (CHARACTERS as u64 + 1)),
        }
    }
}

/// Looks at the files that `paths` name.
///
/// # Errors
/// There is none, a file cannot be read, has no rows, or rows that nothing here reads.
pub fn look(paths: &[String], tokenizer: Option<&Tokenizer>) -> Result<Vec<Found>> {
    let is_table = |path: &&String| {
        let lower = path.to_ascii_lowercase();
        [".csv", ".tsv", ".xlsx"]
            .iter()
            .any(|ending| lower.ends_with(ending))
    };
    if let Some(path) = paths.iter().find(is_table) {
        bail!(
            "{path}: tables of this kind are not read; write JSON lines or Parquet, such as Python's \
             pandas.read_csv(\"{path}\").to_json(\"rows.jsonl\", orient=\"records\", lines=True)"
        );
    }
    let files = LocalShards::find("data", paths)?;
    let count = files.shards().len();
    let mut found: Vec<Found> = Vec::new();
    for (index, shard) in files.shards().iter().enumerate() {
        let file = files.open(index)?;
        let path = std::path::absolute(file.path()).with_context(|| shard.name.clone())?;
        let one = look_at(
            path,
            &shard.name,
            shard.bytes,
            MOST_ROWS.div_ceil(count),
            tokenizer,
        )?;
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
) -> Result<Found> {
    let mut found: Option<Found> = None;
    'file: for batch in open_values(&path, name, &Columns::All)? {
        let batch = batch?;
        for (index, row) in batch.rows.iter().enumerate() {
            let found = match &mut found {
                Some(found) => found,
                None => {
                    let columns = columns(row);
                    let kind =
                        kind(row).map_err(|problem| anyhow::anyhow!("{}: {problem}", batch.place(index)))?;
                    found.insert(Found {
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
            if found.lengths.len() == most {
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
        None => bail!("{name}: there is no row in it"),
    }
}

fn columns(row: &Value) -> Vec<String> {
    let keys = row.as_object().into_iter().flatten();
    keys.map(|(key, _)| key.clone()).collect()
}

/// What a row is, by what can be read of it.
fn kind(row: &Value) -> Result<RowKind, String> {
    let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
    if has("chosen") && has("rejected") {
        return Pair::from_row(row)
            .map(|_| RowKind::Pairs)
            .map_err(|error| error.to_string());
    }
    let is_conversation = match Conversation::from_row(row) {
        Ok(_) => return Ok(RowKind::Conversations),
        Err(error) => error.to_string(),
    };
    // What looks like one and is not is named by what is wrong with it.
    if ["messages", "conversations", "completion", "instruction"]
        .iter()
        .any(|name| has(name))
    {
        return Err(is_conversation);
    }
    text_column(row).map(RowKind::Text).ok_or_else(|| {
        let columns = columns(row);
        let found = match columns.as_slice() {
            [] => "a row without columns".to_owned(),
            columns => format!("the columns {}", columns.join(", ")),
        };
        format!(
            "{found}, of which none is text; conversations have messages, conversations, prompt and completion, or \
             instruction and output; pairs have chosen and rejected; text is in a column such as `text`"
        )
    })
}

/// The column that holds the text: `text`, or `content`, or the longest.
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

/// About how many tokens a row has.
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

/// Columns that a row has besides those that are read.
pub fn unused(found: &Found) -> BTreeSet<&str> {
    let read: Vec<&str> = match &found.kind {
        RowKind::Conversations => Conversation::COLUMNS.to_vec(),
        RowKind::Pairs => Pair::COLUMNS.to_vec(),
        RowKind::Text(column) => vec![column.as_str()],
    };
    let columns = found.columns.iter().map(String::as_str);
    columns.filter(|column| !read.contains(column)).collect()
}
