//! The public sets: their columns on the Hub, and how lm-evaluation-harness words their questions.
//!
//! Source of the wordings: lm-evaluation-harness 0.4.13, `lm_eval/tasks/{hellaswag,arc,piqa,winogrande,openbookqa,
//! commonsense_qa,super_glue/boolq,mmlu/default,mmlu/continuation}`. A form that it does not have for a set (such as
//! lettered HellaSwag) is worded like its others.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use smollm3_corpus::read::Columns;

use super::item::Item;
use crate::Result;
use crate::rows::DataRow;

/// How an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The answer itself follows the question.
    Cloze,
    /// The choices are listed, and a letter follows.
    Lettered,
}

/// A public set of multiple-choice questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChoiceTask {
    /// How a scene goes on (Rowan/hellaswag).
    #[serde(rename = "hellaswag")]
    HellaSwag,
    /// Science questions of grade schools (allenai/ai2_arc, ARC-Easy).
    ArcEasy,
    /// Those that simple methods fail at (ARC-Challenge).
    ArcChallenge,
    /// Exams in 57 subjects (cais/mmlu).
    Mmlu,
    /// Everyday physics (baber/piqa, ybisk/piqa).
    Piqa,
    /// Which of two nouns a gap stands for (allenai/winogrande).
    #[serde(rename = "winogrande")]
    WinoGrande,
    /// Elementary science with common sense (allenai/openbookqa).
    #[serde(rename = "openbookqa")]
    OpenBookQa,
    /// Common sense (tau/commonsense_qa).
    CommonsenseQa,
    /// Yes or no about a passage (aps/super_glue boolq, google/boolq).
    #[serde(rename = "boolq")]
    BoolQ,
}

impl ChoiceTask {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::HellaSwag,
        Self::ArcEasy,
        Self::ArcChallenge,
        Self::Mmlu,
        Self::Piqa,
        Self::WinoGrande,
        Self::OpenBookQa,
        Self::CommonsenseQa,
        Self::BoolQ,
    ];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::HellaSwag => "hellaswag",
            Self::ArcEasy => "arc-easy",
            Self::ArcChallenge => "arc-challenge",
            Self::Mmlu => "mmlu",
            Self::Piqa => "piqa",
            Self::WinoGrande => "winogrande",
            Self::OpenBookQa => "openbookqa",
            Self::CommonsenseQa => "commonsense-qa",
            Self::BoolQ => "boolq",
        }
    }

    /// The form that lm-evaluation-harness asks it in.
    pub fn usual_form(self) -> Form {
        match self {
            Self::Mmlu | Self::CommonsenseQa => Form::Lettered,
            _ => Form::Cloze,
        }
    }

    /// Optional columns, in addition to [`ChoiceTask::columns`].
    fn optional_columns(self) -> &'static [&'static str] {
        match self {
            Self::Mmlu => &["subject"],
            Self::BoolQ => &["answer"],
            _ => &[],
        }
    }

    /// All columns that are read.
    pub fn read_columns(self) -> Columns {
        Columns::named([self.columns(), self.optional_columns()].concat())
    }

    /// The columns that a row must have.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::HellaSwag => &["activity_label", "ctx_a", "ctx_b", "endings", "label"],
            Self::ArcEasy | Self::ArcChallenge | Self::CommonsenseQa => &["question", "choices", "answerKey"],
            Self::Mmlu => &["question", "choices", "answer"],
            Self::Piqa => &["goal", "sol1", "sol2", "label"],
            Self::WinoGrande => &["sentence", "option1", "option2", "answer"],
            Self::OpenBookQa => &["question_stem", "choices", "answerKey"],
            Self::BoolQ => &["passage", "question", "label"],
        }
    }

    /// The text before the examples and questions on `subject`.
    pub fn introduction(self, form: Form, subject: Option<&str>) -> String {
        match (self, subject) {
            (Self::Mmlu, Some(subject)) => {
                let kind = match form {
                    Form::Cloze => "questions",
                    Form::Lettered => "multiple choice questions",
                };
                let subject = subject.replace('_', " ");
                format!("The following are {kind} (with answers) about {subject}.\n\n")
            }
            _ => String::new(),
        }
    }

    /// The item of a row.
    ///
    /// # Errors
    /// The row is not one of this set, or its answer is not known.
    pub fn item(self, row: &DataRow) -> Result<Item> {
        match self {
            // google/boolq has `answer`, a truth value, where super_glue has `label`.
            Self::BoolQ if row.columns.get("answer").is_some() => {
                row.check(self.name(), &["passage", "question", "answer"])?;
            }
            _ => row.check(self.name(), self.columns())?,
        }
        match self {
            Self::HellaSwag => hellaswag(row),
            Self::ArcEasy | Self::ArcChallenge => {
                let question = format!("Question: {}", row.text("question")?);
                labelled(row, answered(&question), question)
            }
            Self::Mmlu => mmlu(row),
            Self::Piqa => {
                let question = format!("Question: {}", row.text("goal")?);
                let choices = vec![row.text("sol1")?.to_owned(), row.text("sol2")?.to_owned()];
                Item::new(row, answered(&question), question, choices, row.index("label")?)
            }
            Self::WinoGrande => winogrande(row),
            Self::OpenBookQa => {
                let stem = row.text("question_stem")?;
                labelled(row, stem.to_owned(), format!("Question: {stem}"))
            }
            Self::CommonsenseQa => {
                let question = format!("Question: {}", row.text("question")?.trim());
                labelled(row, answered(&question), question)
            }
            Self::BoolQ => {
                let question = format!("{}\nQuestion: {}?", row.text("passage")?, row.text("question")?);
                let column = match row.columns.get("answer") {
                    Some(_) => "answer",
                    None => "label",
                };
                let choices = vec!["no".to_owned(), "yes".to_owned()];
                Item::new(row, answered(&question), question, choices, row.index(column)?)
            }
        }
    }
}

/// An item whose choices have labels, of which one is the answer.
fn labelled(row: &DataRow, cloze: String, stem: String) -> Result<Item> {
    let gold = row.label("answerKey", &row.texts(&["choices", "label"])?)?;
    Item::new(row, cloze, stem, row.texts(&["choices", "text"])?, gold)
}

fn answered(question: &str) -> String {
    format!("{question}\nAnswer:")
}

fn hellaswag(row: &DataRow) -> Result<Item> {
    let scene = format!(
        "{}: {} {}",
        row.text("activity_label")?,
        row.text("ctx_a")?,
        capitalized(row.text("ctx_b")?)
    );
    let scene = without_markup(&scene);
    let endings = row.texts(&["endings"])?;
    let endings = endings.iter().map(|ending| without_markup(ending)).collect();
    Item::new(row, scene.clone(), scene, endings, row.index("label")?)
}

static BRACKETS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\[.*?\]").ok());

/// Part of HellaSwag comes from WikiHow with headings and notes in brackets.
fn without_markup(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let text = match BRACKETS.as_ref() {
        Some(brackets) => brackets.replace_all(&text, "").into_owned(),
        None => text,
    };
    text.replace("  ", " ")
}

/// The first letter in upper case, the others in lower case: Python's `capitalize`.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(letters.as_str().to_lowercase().chars())
            .collect(),
        None => String::new(),
    }
}

fn mmlu(row: &DataRow) -> Result<Item> {
    let question = row.text("question")?.trim().to_owned();
    let choices = row.texts(&["choices"])?;
    let letters: Vec<String> = ('A'..='Z').take(choices.len()).map(String::from).collect();
    let gold = row.index("answer").or_else(|_| row.label("answer", &letters))?;
    let cloze = answered(&format!("Question: {question}"));
    let item = Item::new(row, cloze, question, choices, gold)?;
    let subject = row.value("subject").as_str().map(str::to_owned);
    Ok(Item { subject, ..item })
}

fn winogrande(row: &DataRow) -> Result<Item> {
    let sentence = row.text("sentence")?;
    let Some((before, after)) = sentence.split_once('_') else {
        return Err(row.wrong("sentence", "has no gap `_`"));
    };
    let options = vec![row.text("option1")?.to_owned(), row.text("option2")?.to_owned()];
    let gold = row.label("answer", &["1".to_owned(), "2".to_owned()])?;
    let item = Item::new(
        row,
        before.to_owned(),
        format!("Question: {sentence}"),
        options,
        gold,
    )?;
    Ok(Item {
        rest: Some(after.trim().to_owned()),
        ..item
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_cleaned_as_the_harness_cleans_them() {
        for (text, clean) in [
            ("  a b ", "a b"),
            ("How to [title] Begin [step] now", "How to. Begin now"),
            ("[header] x", " x"),
            ("a   b", "a  b"),
            ("a [un\nclosed] b", "a [un\nclosed] b"),
        ] {
            assert_eq!(without_markup(text), clean, "{text:?}");
        }
    }

    #[test]
    fn only_the_first_letter_is_large() {
        for (text, expected) in [("hE Is", "He is"), ("", ""), ("éA", "Éa"), ("1 A", "1 a")] {
            assert_eq!(capitalized(text), expected);
        }
    }
}
