//! One item of any of the sets: question, choices, right answer.

use serde_json::Value;

use crate::rows::DataRow;
use crate::{EvalError, Result};

/// A question with its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is from, for messages.
    pub place: String,
    /// Its subject, where a set has several.
    pub subject: Option<String>,
    /// The text before the answer where it is written out.
    pub cloze: String,
    /// The text before the list of choices where the answer is a letter.
    pub stem: String,
    /// The choices.
    pub choices: Vec<String>,
    /// Index of the right one.
    pub gold: usize,
    /// The text after the choice where it fills a gap: `cloze` then ends at the gap, and this text is scored.
    pub rest: Option<String>,
}

impl Item {
    /// An item of one subject without a gap.
    ///
    /// # Errors
    /// `gold` is none of the choices.
    pub(super) fn new(
        row: &DataRow,
        cloze: String,
        stem: String,
        choices: Vec<String>,
        gold: usize,
    ) -> Result<Self> {
        match gold < choices.len() {
            true => Ok(Self {
                place: row.place.clone(),
                subject: None,
                cloze,
                stem,
                choices,
                gold,
                rest: None,
            }),
            false => Err(EvalError::Row {
                place: row.place.clone(),
                problem: format!("the row names answer {} of {}", gold + 1, choices.len()),
            }),
        }
    }
}

impl DataRow {
    /// The index of the right choice where a column holds it: a number from 0, as a number or as text.
    pub(super) fn index(&self, column: &str) -> Result<usize> {
        let value = self.value(column);
        let number = match value {
            Value::Bool(truth) => Some(u64::from(*truth)),
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .map(|number| number as usize)
            .ok_or_else(|| self.no_answer(column))
    }

    /// The index of the right choice where a column holds its label.
    pub(super) fn label(&self, column: &str, labels: &[String]) -> Result<usize> {
        let answer = self.value(column).as_str().unwrap_or_default().trim();
        labels
            .iter()
            .position(|label| label.trim() == answer)
            .ok_or_else(|| self.no_answer(column))
    }

    fn no_answer(&self, column: &str) -> EvalError {
        let found = self.value(column);
        self.wrong(
            column,
            &format!(
                "is {found}, which names no choice; splits without public answers cannot be evaluated on"
            ),
        )
    }
}
