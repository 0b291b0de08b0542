//! Rows of a data set, and their columns.

use serde_json::Value;
use smollm3_corpus::read::{Columns, rows_of};
use smollm3_corpus::shards::LocalShards;

use crate::{EvalError, Result};

/// A row and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct DataRow {
    /// For messages: "line 3 of `a.jsonl`".
    pub place: String,
    /// The columns.
    pub columns: Value,
}

/// All rows of Parquet files and files of JSON (files, folders, globs), with their `columns`; the others are null.
///
/// # Errors
/// A file is missing or damaged, or there is no row at all.
pub fn read_rows<S: AsRef<str>>(files: &[S], columns: &Columns) -> Result<Vec<DataRow>> {
    let shards = LocalShards::find("the questions", files)?;
    let mut rows = Vec::new();
    for batch in rows_of(&shards, columns) {
        let batch = batch?;
        let places: Vec<String> = (0..batch.rows.len()).map(|row| batch.place(row)).collect();
        let of_batch = batch.rows.into_iter().zip(places);
        rows.extend(of_batch.map(|(columns, place)| DataRow { place, columns }));
    }
    match rows.is_empty() {
        true => Err(EvalError::Empty {
            files: files.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
        }),
        false => Ok(rows),
    }
}

impl DataRow {
    /// Checks that the row has these columns.
    ///
    /// # Errors
    /// One is missing: the message names all of them and those that are there.
    pub fn check(&self, suite: &str, needed: &[&str]) -> Result<()> {
        match needed.iter().all(|column| self.columns.get(*column).is_some()) {
            true => Ok(()),
            false => Err(EvalError::Columns {
                place: self.place.clone(),
                suite: suite.to_owned(),
                needed: needed.join(", "),
                found: match &self.columns {
                    Value::Object(columns) if !columns.is_empty() => {
                        columns.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
                    }
                    _ => "none".to_owned(),
                },
            }),
        }
    }

    /// The value of a column; null where it is missing.
    pub fn value(&self, column: &str) -> &Value {
        self.columns.get(column).unwrap_or(&Value::Null)
    }

    /// A column of text.
    ///
    /// # Errors
    /// It holds something else.
    pub fn text(&self, column: &str) -> Result<&str> {
        let value = self.value(column);
        value
            .as_str()
            .ok_or_else(|| self.wrong(column, &format!("must be text, not {}", kind(value))))
    }

    /// A list of texts, in a column or, as `["choices", "text"]`, inside it.
    ///
    /// # Errors
    /// It is none, or a text in it is empty.
    pub fn texts(&self, path: &[&str]) -> Result<Vec<String>> {
        let column = path.join(".");
        let value = path
            .iter()
            .try_fold(&self.columns, |value, key| value.get(*key))
            .unwrap_or(&Value::Null);
        let texts = value
            .as_array()
            .map(|list| list.iter().map(Value::as_str).collect());
        let texts: Option<Vec<&str>> = texts.unwrap_or(None);
        match texts {
            Some(texts) if texts.iter().all(|text| !text.trim().is_empty()) && !texts.is_empty() => {
                Ok(texts.into_iter().map(str::to_owned).collect())
            }
            Some(_) => Err(self.wrong(&column, "must be a list of texts that are not empty")),
            None => Err(self.wrong(&column, &format!("must be a list of texts, not {}", kind(value)))),
        }
    }

    /// The problem of a column, as an error.
    pub fn wrong(&self, column: &str, problem: &str) -> EvalError {
        EvalError::Row {
            place: self.place.clone(),
            problem: format!("`{column}` {problem}"),
        }
    }
}

/// The kind of a value, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list with something else in it",
        Value::Object(_) => "an object",
    }
}
