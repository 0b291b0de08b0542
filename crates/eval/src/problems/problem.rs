//! Problems of the public sets: their columns, and which answer is right.

use serde::{Deserialize, Serialize};

use crate::rows::DataRow;
use crate::{EvalError, Result};
use smollm3_answers::{Extracted, extract, extract_number, normalise};
use smollm3_corpus::read::Columns;

/// A kind of set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemTask {
    /// Word problems of grade schools; the answer ends in `#### 42` (openai/gsm8k).
    Gsm8k,
    /// Competition mathematics; the solution holds `\boxed{…}`, or there is the bare answer (EleutherAI/hendrycks_math,
    /// HuggingFaceH4/MATH-500, AIME sets).
    Math,
}

/// A problem with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is from, for messages.
    pub place: String,
    /// The question.
    pub question: String,
    /// A solution, which examples show.
    pub solution: String,
    /// The answer, normalised.
    pub answer: String,
}

impl ProblemTask {
    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gsm8k => "gsm8k",
            Self::Math => "math",
        }
    }

    /// Question and solution without a chat template: lm-evaluation-harness's wording (`gsm8k.yaml`, `minerva_math/utils.py`).
    pub fn plain(self, question: &str) -> String {
        match self {
            Self::Gsm8k => format!("Question: {question}\nAnswer:"),
            Self::Math => format!("Problem:\n{question}\n\nSolution:"),
        }
    }

    /// Text at which a plain continuation has gone on to the next problem.
    pub fn stop(self) -> &'static str {
        match self {
            Self::Gsm8k => "Question:",
            Self::Math => "Problem:",
        }
    }

    /// The answer in a solution, normalised. Those of GSM8K are numbers: of `18 dollars`, it is 18.
    pub fn answer(self, solution: &str) -> Option<Extracted> {
        let found = match self {
            Self::Gsm8k => extract_number(solution)?,
            Self::Math => extract(solution)?,
        };
        let text = normalise(&found.text);
        (!text.is_empty()).then_some(Extracted { text, ..found })
    }

    /// The columns that are read.
    pub fn read_columns(self) -> Columns {
        Columns::named(["question", "problem", "answer", "solution"])
    }

    /// The problem of a row: `question` or `problem`, and `answer` or `solution`.
    ///
    /// # Errors
    /// The columns are others, or no answer is marked in them.
    pub fn problem(self, row: &DataRow) -> Result<Problem> {
        let has = |column: &str| row.columns.get(column).is_some();
        let question = match has("problem") {
            true => "problem",
            false => "question",
        };
        let solution = match has("solution") {
            true => "solution",
            false => "answer",
        };
        row.check(self.name(), &[question, solution])?;
        let (question, solved) = (row.text(question)?, row.text(solution)?);
        // A set may have the bare answer in addition to the solution.
        let bare = (self == Self::Math && has("answer"))
            .then(|| row.text("answer"))
            .transpose()?;
        let marked = |text: &str| {
            self.answer(text)
                .filter(|found| found.marked)
                .map(|found| found.text)
        };
        let answer = match bare {
            Some(bare) => marked(bare).or(Some(normalise(bare))),
            None => marked(solved),
        };
        match answer.filter(|answer| !answer.is_empty()) {
            Some(answer) => Ok(Problem {
                place: row.place.clone(),
                question: question.trim().to_owned(),
                solution: solved.trim().to_owned(),
                answer,
            }),
            None => Err(EvalError::Row {
                place: row.place.clone(),
                problem: format!(
                    "`{solution}` marks no answer; write `#### 42` or `\\boxed{{42}}` at its end"
                ),
            }),
        }
    }
}
