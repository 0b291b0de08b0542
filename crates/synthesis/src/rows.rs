//! Writes the usable answers as rows, in the order of the prompts.
//!
//! Rows have only the columns that stages and other trainers read; the settings are in the file of answers. The file of rows
//! is rewritten from the answers each time, and appears whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use smollm3_answers::is_right;
use smollm3_files::atomic_file::AtomicFile;

use crate::{Answer, AnswerId, Finish, Journal, Prompt, Prompts, Result, SynthesisError};

/// How answers become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Each answer of the only model is a row of `messages`.
    Responses,
    /// The first model's answers are preferred to the second's, sample by sample.
    StrongOverWeak,
    /// Of the only model's answers to a prompt, the first right one is preferred to the first wrong one.
    RightOverWrong,
}

/// Why a row is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// The model could not process the prompt, or its operator withheld the answer.
    Refused,
    /// An answer was cut off by the maximum number of tokens or the context.
    CutOff,
    /// An answer has no text after the thought.
    Empty,
    /// Both answers are the same.
    Equal,
    /// No answer was right.
    NoneRight,
    /// No answer was wrong.
    NoneWrong,
}

impl LeftOut {
    /// In words, after their number.
    pub fn words(self) -> &'static str {
        match self {
            Self::Refused => "refused by a model",
            Self::CutOff => "cut off",
            Self::Empty => "empty",
            Self::Equal => "both answers equal",
            Self::NoneRight => "no answer right",
            Self::NoneWrong => "no answer wrong",
        }
    }
}

/// The number of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows written.
    pub rows: u64,
    /// Rows that wait for an answer.
    pub waiting: u64,
    /// Rows left out, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// A row of the file, or why there is none.
enum Row {
    Written(Value),
    Waiting,
    LeftOut(LeftOut),
}

/// Writes the rows of all answers in `journal` to `out`. Rows are kept despite the reasons in `keep`.
///
/// # Errors
/// A prompt or an answer cannot be read, or the file cannot be written.
pub fn write_rows(
    out: &Path,
    prompts: &Prompts,
    journal: &mut Journal,
    form: Form,
    samples: u32,
    keep: &[LeftOut],
) -> Result<Written> {
    let mut file = AtomicFile::create(out)?;
    let mut written = Written::default();
    for prompt in prompts.iter() {
        let prompt = prompt?;
        let mut answers = Answers {
            journal,
            prompt: &prompt,
            keep,
        };
        let rows = match form {
            Form::Responses => (0..samples)
                .map(|sample| answers.response(sample))
                .collect::<Result<Vec<_>>>()?,
            Form::StrongOverWeak => (0..samples)
                .map(|sample| answers.strong_over_weak(sample))
                .collect::<Result<_>>()?,
            Form::RightOverWrong => vec![answers.right_over_wrong(samples)?],
        };
        for row in rows {
            match row {
                Row::Written(row) => {
                    written.rows += 1;
                    file.write(format!("{row}\n").as_bytes())?;
                }
                Row::Waiting => written.waiting += 1,
                Row::LeftOut(reason) => *written.left_out.entry(reason).or_default() += 1,
            }
        }
    }
    file.commit()?;
    Ok(written)
}

/// The answers to one prompt.
struct Answers<'a> {
    journal: &'a mut Journal,
    prompt: &'a Prompt,
    keep: &'a [LeftOut],
}

impl Answers<'_> {
    fn answer(&mut self, model: u8, sample: u32) -> Result<Option<Answer>> {
        let prompt = self.prompt.index;
        self.journal.answer(AnswerId {
            prompt,
            model,
            sample,
        })
    }

    fn response(&mut self, sample: u32) -> Result<Row> {
        let Some(answer) = self.answer(0, sample)? else {
            return Ok(Row::Waiting);
        };
        if let Some(reason) = self.problem(&answer) {
            return Ok(Row::LeftOut(reason));
        }
        let messages = [self.prompt.conversation.messages.as_slice(), &[said(&answer)]].concat();
        Ok(Row::Written(self.row([("messages", Value::Array(messages))])))
    }

    fn strong_over_weak(&mut self, sample: u32) -> Result<Row> {
        let (Some(strong), Some(weak)) = (self.answer(0, sample)?, self.answer(1, sample)?) else {
            return Ok(Row::Waiting);
        };
        Ok(match self.problem(&strong).or_else(|| self.problem(&weak)) {
            Some(reason) => Row::LeftOut(reason),
            None => self.pair(&strong, &weak),
        })
    }

    fn right_over_wrong(&mut self, samples: u32) -> Result<Row> {
        let expected = self
            .prompt
            .expected
            .as_deref()
            .ok_or_else(|| SynthesisError::Prompt {
                place: self.prompt.place.clone(),
                problem: "has no right answer to compare with".to_owned(),
            })?;
        let (mut right, mut wrong, mut problems) = (None, None, Vec::new());
        for sample in 0..samples {
            let Some(answer) = self.answer(0, sample)? else {
                return Ok(Row::Waiting);
            };
            match self.problem(&answer) {
                Some(problem) => problems.push(problem),
                None if is_right(answer.said(), expected) => _ = right.get_or_insert(answer),
                None => _ = wrong.get_or_insert(answer),
            }
        }
        Ok(match (right, wrong, problems.first()) {
            (Some(right), Some(wrong), _) => self.pair(&right, &wrong),
            (None, None, Some(problem)) => Row::LeftOut(*problem),
            (None, ..) => Row::LeftOut(LeftOut::NoneRight),
            (Some(_), None, _) => Row::LeftOut(LeftOut::NoneWrong),
        })
    }

    /// Why an answer cannot be used.
    fn problem(&self, answer: &Answer) -> Option<LeftOut> {
        let found = match answer.finish {
            // There is no text to keep.
            Finish::Refused => return Some(LeftOut::Refused),
            Finish::Length if !self.keeps(LeftOut::CutOff) => LeftOut::CutOff,
            Finish::Stop | Finish::Length if answer.said().is_empty() => LeftOut::Empty,
            Finish::Stop | Finish::Length => return None,
        };
        (!self.keeps(found)).then_some(found)
    }

    fn keeps(&self, reason: LeftOut) -> bool {
        self.keep.contains(&reason)
    }

    fn pair(&self, chosen: &Answer, rejected: &Answer) -> Row {
        if chosen.text.trim() == rejected.text.trim() && !self.keeps(LeftOut::Equal) {
            return Row::LeftOut(LeftOut::Equal);
        }
        Row::Written(self.row([
            ("prompt", json!(self.prompt.conversation.messages)),
            ("chosen", json!([said(chosen)])),
            ("rejected", json!([said(rejected)])),
        ]))
    }

    fn row<const N: usize>(&self, columns: [(&str, Value); N]) -> Value {
        let mut row: Map<String, Value> = columns
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect();
        let kwargs = &self.prompt.conversation.template_kwargs;
        // Columnar formats have no type for a column of empty objects.
        if !kwargs.is_empty() {
            row.insert("chat_template_kwargs".to_owned(), json!(kwargs));
        }
        Value::Object(row)
    }
}

fn said(answer: &Answer) -> Value {
    json!({"role": "assistant", "content": answer.text.trim()})
}
