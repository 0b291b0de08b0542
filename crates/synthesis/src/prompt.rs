//! Rows of files as prompts.
//!
//! A prompt is identified by its number over all files and by a hash of its conversation, so that answers are never
//! attributed to another prompt: files may grow between two calls, but not change.

use serde_json::{Map, Value, json};
use smollm3_chat::Conversation;
use smollm3_chat::conversation::{MEDIA, SYSTEM, in_one_form, open_with_system};
use smollm3_corpus::read::{Columns, ValueBatch, rows_of};
use smollm3_corpus::shards::{CacheOptions, Shards, open_rows};
pub use smollm3_corpus::tokenize::BadRows;

use crate::{Result, SynthesisError};

/// How rows become prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asking {
    /// The system message for rows without one.
    pub system: Option<String>,
    /// The template's `enable_thinking`; by default the row's.
    pub think: Option<bool>,
    /// The column with the right answer.
    pub expected: Option<String>,
    /// Maximum number of rows.
    pub limit: Option<u64>,
    /// How to treat rows without a prompt, and prompts that a model refuses.
    pub bad_rows: BadRows,
}

/// A conversation that ends before the assistant's turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Number of its row over all files, from 0.
    pub index: u64,
    /// Its row, for messages.
    pub place: String,
    /// Its messages, and the template's variables.
    pub conversation: Conversation,
    /// The right answer.
    pub expected: Option<String>,
    /// Hash of the conversation.
    pub hash: u64,
}

/// Files of prompts.
pub struct Prompts {
    files: Box<dyn Shards>,
    /// How rows are read.
    pub asking: Asking,
}

/// The number of prompts in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Prompts.
    pub prompts: u64,
    /// Rows without one.
    pub bad_rows: u64,
    /// The first of those, and what is wrong with it.
    pub example: Option<String>,
}

impl Prompts {
    /// Finds the files.
    ///
    /// # Errors
    /// There are none, or they cannot be listed.
    pub fn open<S: AsRef<str>>(addresses: &[S], cache: &CacheOptions, asking: Asking) -> Result<Self> {
        let files = open_rows("prompts", addresses, cache)?;
        Ok(Self { files, asking })
    }

    /// All rows in order; those without a prompt as errors.
    fn rows(&self) -> impl Iterator<Item = Result<Prompt>> {
        let mut index = 0;
        let limit = self.asking.limit.unwrap_or(u64::MAX);
        let prompts = rows_of(self.files.as_ref(), &self.asking.columns()).flat_map(move |batch| {
            let prompts: Vec<Result<Prompt>> = match batch {
                Err(error) => vec![Err(error.into())],
                Ok(batch) => (0..batch.rows.len())
                    .map(|row| {
                        index += 1;
                        self.asking.prompt(&batch, row, index - 1)
                    })
                    .collect(),
            };
            prompts
        });
        prompts.take(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The prompts in order.
    ///
    /// # Errors
    /// Items are errors if a file cannot be read, or a row has no prompt and such rows are not skipped.
    pub fn iter(&self) -> impl Iterator<Item = Result<Prompt>> {
        self.rows().filter(|prompt| !self.skipped(prompt))
    }

    fn skipped(&self, prompt: &Result<Prompt>) -> bool {
        let no_prompt = matches!(
            prompt,
            Err(SynthesisError::Prompt { .. } | SynthesisError::Row { .. })
        );
        no_prompt && self.asking.bad_rows == BadRows::Skip
    }

    /// Reads all prompts once and passes each to `check`.
    ///
    /// # Errors
    /// As [`Prompts::iter`], or `check` fails.
    pub fn survey(&self, mut check: impl FnMut(&Prompt) -> Result<()>) -> Result<Survey> {
        let mut survey = Survey::default();
        for prompt in self.rows() {
            if self.skipped(&prompt) {
                survey.bad_rows += 1;
                let example = || prompt.as_ref().err().map(ToString::to_string);
                survey.example = survey.example.or_else(example);
                continue;
            }
            check(&prompt?)?;
            survey.prompts += 1;
        }
        Ok(survey)
    }
}

/// Columns that may hold the prompt; the first present is used.
const ASKING: [&str; 4] = ["prompt", "question", "messages", "conversations"];
/// Columns for the template besides the messages.
const SETTING: [&str; 3] = ["tools", "functions", "chat_template_kwargs"];

impl Asking {
    /// The columns to read.
    fn columns(&self) -> Columns {
        let expected = self.expected.as_deref();
        let columns = ASKING.into_iter().chain(SETTING).chain(SYSTEM).chain(MEDIA);
        Columns::named(columns.chain(expected))
    }

    fn prompt(&self, batch: &ValueBatch, row: usize, index: u64) -> Result<Prompt> {
        let place = batch.place(row);
        let row = batch.rows.get(row).unwrap_or(&Value::Null);
        let wrong = |problem: String| SynthesisError::Prompt {
            place: place.clone(),
            problem,
        };
        let mut messages = messages(row).map_err(wrong)?;
        let opens_with_system = messages.first().map(role) == Some("system");
        if let (Some(system), false) = (&self.system, opens_with_system) {
            messages.insert(0, json!({"role": "system", "content": system}));
        }
        let mut whole = Map::new();
        whole.insert("messages".to_owned(), Value::Array(messages));
        for column in SETTING.into_iter().chain(MEDIA) {
            if let Some(value) = row.get(column) {
                whole.insert(column.to_owned(), value.clone());
            }
        }
        let read = Conversation::from_row(&Value::Object(whole));
        let mut conversation = read.map_err(|source| SynthesisError::Row {
            place: place.clone(),
            source,
        })?;
        if conversation.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
            return Err(wrong(
                "has `tools`; tool calls are not supported, remove the column or the row".to_owned(),
            ));
        }
        conversation.tools = None;
        if let Some(think) = self.think {
            let kwargs = &mut conversation.template_kwargs;
            kwargs.insert("enable_thinking".to_owned(), Value::from(think));
        }
        let expected = match &self.expected {
            None => None,
            Some(column) => Some(match row.get(column) {
                Some(Value::String(text)) if !text.trim().is_empty() => text.trim().to_owned(),
                Some(Value::Number(number)) => number.to_string(),
                _ => {
                    return Err(wrong(format!(
                        "has no text or number in `{column}`; write the right answer there"
                    )));
                }
            }),
        };
        let hash = hash(&conversation);
        Ok(Prompt {
            index,
            place,
            conversation,
            expected,
            hash,
        })
    }
}

/// The messages of a row up to the last one of the user or a tool, or what is wrong with it.
fn messages(row: &Value) -> Result<Vec<Value>, String> {
    let column = |name: &str| row.get(name).filter(|value| !value.is_null());
    let mut given = ASKING.iter().filter_map(|name| Some((*name, column(name)?)));
    let is_filled = |(_, value): &(&str, &Value)| value.as_array().is_none_or(|list| !list.is_empty());
    let found = given.clone().find(is_filled).or_else(|| given.next());
    let mut messages = match found {
        Some((_, Value::String(text))) if !text.trim().is_empty() => {
            vec![json!({"role": "user", "content": text})]
        }
        Some((_, Value::Array(messages))) => {
            in_one_form(messages.clone()).map_err(|error| error.to_string())?
        }
        Some((name, _)) => {
            return Err(format!("has neither text nor a list of messages in `{name}`"));
        }
        None => return Err(format!("has no prompt; it needs one of {}", ASKING.join(", "))),
    };
    open_with_system(row, &mut messages).map_err(|error| error.to_string())?;
    // The assistant's last message is to be generated anew.
    if messages.last().map(role) == Some("assistant") {
        messages.pop();
    }
    match messages.last().map(role) {
        Some("user" | "tool") => Ok(messages),
        Some(other) => Err(format!(
            "ends with the role `{other}`; a prompt ends with a message of the user"
        )),
        None => Err("has no messages before the assistant's; a prompt needs one of the user".to_owned()),
    }
}

fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

fn hash(conversation: &Conversation) -> u64 {
    let hash = blake3::hash(json!(conversation).to_string().as_bytes());
    u64::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}
