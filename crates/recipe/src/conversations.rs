//! What stages on conversations and on pairs of answers have in common: their data, their template, their length.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::hub_id::HubId;
use crate::key_path::KeyPath;
use crate::push::license;
use crate::section::unknown;
use crate::source::{Source, SourceKind};
use crate::units::Span;

/// How long a stage on conversations is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Duration {
    /// So many times through all rows.
    Epochs(f64),
    /// Until so many steps or tokens.
    Until(Span),
}

/// Times through the data: more would not end, and steps could not be counted.
const MOST_EPOCHS: f64 = 10_000.0;

impl Duration {
    /// What `epochs` and `until` say, of which one must be written.
    pub(crate) fn of(epochs: Option<f64>, until: Option<Span>) -> Result<Self, Problem> {
        match (epochs, until) {
            (Some(epochs), None) if epochs > MOST_EPOCHS => {
                let message =
                    format!("{epochs} times through the data are too many; write at most {MOST_EPOCHS}");
                Err(Problem::at("epochs", message))
            }
            (Some(epochs), None) if epochs > 0.0 => Ok(Self::Epochs(epochs)),
            (Some(epochs), None) => {
                let message = format!("{epochs} times through the data is nothing; write a positive number");
                Err(Problem::at("epochs", message))
            }
            (None, Some(Span::Percent(_))) => {
                let message = "there is nothing that it could be a part of; write \"200 steps\" or tokens";
                Err(Problem::at("until", message.to_owned()))
            }
            (None, Some(until)) => Ok(Self::Until(until)),
            _ => {
                let message = "how long the stage is; write either epochs = 4 or until = \"200 steps\"";
                Err(Problem::at("", message.to_owned()))
            }
        }
    }
}

/// Where the template of conversations comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TemplateChoice {
    /// One that this project brings along, by name.
    BuiltIn(String),
    /// That of the checkpoint which the stage starts from.
    Checkpoint,
    /// A file, from the folder of the recipe.
    File(String),
    /// That of a model on the Hub, `hf://owner/name`. Without `hf://` it would be a file.
    Hub(String),
}

impl From<String> for TemplateChoice {
    fn from(text: String) -> Self {
        match text.as_str() {
            "checkpoint" => Self::Checkpoint,
            id if HubId::is_explicit(id) => Self::Hub(text),
            path if path.contains(['/', '.']) => Self::File(text),
            _ => Self::BuiltIn(text),
        }
    }
}

impl From<TemplateChoice> for String {
    fn from(choice: TemplateChoice) -> Self {
        match choice {
            TemplateChoice::Checkpoint => "checkpoint".to_owned(),
            TemplateChoice::File(text) | TemplateChoice::BuiltIn(text) | TemplateChoice::Hub(text) => text,
        }
    }
}

/// What becomes of a row that the template does not write whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateDrops {
    /// The first one ends the work, with its line, its message and its key.
    #[default]
    Refuse,
    /// It is used as the template writes it, and counted by the kind of what is missing.
    Count,
}

/// What becomes of special tokens that a row spells, such as `<|im_end|>` in a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialTokens {
    /// They are encoded as characters; only the template writes special tokens.
    #[default]
    Text,
    /// The row is refused.
    Refuse,
}

/// How rows become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatText<'a> {
    /// The template.
    pub template: &'a TemplateChoice,
    /// The date that it may ask for.
    pub date: Option<&'a str>,
    /// What becomes of rows that it does not write whole.
    pub template_drops: TemplateDrops,
    /// What becomes of special tokens that a row spells.
    pub special_tokens: SpecialTokens,
}

/// Whether a setting is the default one, which recipes of before do not have.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The tokens that the loss is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learned {
    /// What the template marks as the assistant's.
    Assistant,
    /// All.
    All,
    /// The last of the assistant's turns.
    LastTurn,
}

/// `[[stage.data]]`: conversations from one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversations {
    /// Their name.
    pub name: String,
    /// JSON lines or Parquet: files, folders, globs or addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// In the place of files: generated questions about sums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<Sums>,
    /// In the place of files: passages of a source's text, to be gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passages: Option<Passages>,
    /// The part of the rows that is kept, as a recipe has it; once it is read, `weight` has it and this is `None`.
    #[serde(default, skip_serializing)]
    pub fraction: Option<f64>,
    /// The part of the rows that is kept, chosen by the run's seed: the same rows whatever other data there are. `fraction` in a
    /// recipe, or by this name, which it has in SmolLM3's own configurations.
    #[serde(default = "whole")]
    pub weight: f64,
    /// In the place of a part, so many rows, chosen in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Their licence as the Hub spells it, for model cards.
    #[serde(default, deserialize_with = "license", skip_serializing)]
    pub license: Option<String>,
}

impl Default for Conversations {
    fn default() -> Self {
        Self {
            name: String::new(),
            paths: Vec::new(),
            sums: None,
            passages: None,
            fraction: None,
            weight: whole(),
            rows: None,
            license: None,
        }
    }
}

impl Conversations {
    /// Takes `fraction` for `weight`, so that a recipe is the same under both names.
    pub(crate) fn with_one_name(&mut self) {
        self.weight = self.fraction.take().unwrap_or(self.weight);
    }

    /// How many rows of `rows` are kept: the part rounded down, as the original does.
    pub fn kept(&self, rows: u64) -> u64 {
        self.rows.unwrap_or((rows as f64 * self.weight) as u64)
    }
}

/// Generated conversations about sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// How many.
    pub conversations: u64,
    /// The seed of the generator.
    #[serde(default)]
    pub seed: u64,
    /// Whether the answers think first (`/think`) or not (`/no_think`).
    pub think: bool,
    /// What they say in the end; of pairs, what is preferred.
    #[serde(default, skip_serializing_if = "is_default")]
    pub answers: SumAnswers,
}

/// How an answer to a sum is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SumAnswers {
    /// `83`. Of pairs, the right number is preferred to a wrong one.
    #[default]
    Number,
    /// `47 + 36 = 83`. Of pairs, the right equation is preferred to the bare number and to a wrong equation, in turn.
    Equation,
    /// The one and the other in turn.
    Mixed,
}

impl SumAnswers {
    /// Whether conversation `index` states an equation.
    pub fn is_equation(self, index: u64) -> bool {
        match self {
            Self::Number => false,
            Self::Equation => true,
            Self::Mixed => !index.is_multiple_of(2),
        }
    }

    /// What is wrong with it where one answer is preferred to another.
    pub(crate) fn problem_of_pairs(self) -> Option<String> {
        (self == Self::Mixed)
            .then(|| "pairs prefer one form of answer; write \"number\" or \"equation\"".to_owned())
    }
}

/// Generated conversations about text: the user gives the first quarter of a passage, the assistant goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passages {
    /// The `[source.NAME]` that the passages are from. What it holds out is in none of them.
    pub source: String,
    /// How many.
    pub conversations: u64,
    /// Chooses the documents.
    #[serde(default)]
    pub seed: u64,
    /// The mode in which they are asked for (`/think` or `/no_think`); none of them thinks.
    pub think: bool,
}

/// What rows may be generated of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsOf {
    Conversations,
    Pairs,
}

fn whole() -> f64 {
    1.0
}

/// Refuses data that are nowhere, twice there, or no part of anything.
pub(crate) fn check_data(all: &[Conversations], rows: RowsOf) -> Result<(), Problem> {
    let (what, forms) = match rows {
        RowsOf::Conversations => ("conversations", "from sums = { … } or from passages = { … }"),
        RowsOf::Pairs => ("pairs", "or from sums = { … }"),
    };
    if all.is_empty() {
        let message = format!("there are no {what}; write [[stage.data]] with a name and paths");
        return Err(Problem::at("data", message));
    }
    for (index, data) in all.iter().enumerate() {
        let at = |key: &str, message: String| {
            Err(Problem::at(key, message).under(KeyPath::default().key("data").index(index)))
        };
        if all[..index].iter().any(|earlier| earlier.name == data.name) {
            return at("name", format!("`{}` is there already; rename one", data.name));
        }
        let passages = data.passages.as_ref();
        if rows == RowsOf::Pairs && passages.is_some() {
            return at(
                "passages",
                "passages are conversations, no pairs; write paths or sums".to_owned(),
            );
        }
        let places = [!data.paths.is_empty(), data.sums.is_some(), passages.is_some()];
        if places.iter().filter(|given| **given).count() != 1 {
            let message = format!("{what} come from paths = [\"chats.jsonl\"], {forms}; write one of them");
            return at("paths", message);
        }
        if let (RowsOf::Pairs, Some(sums)) = (rows, &data.sums)
            && let Some(message) = sums.answers.problem_of_pairs()
        {
            return at("sums", message);
        }
        let generated = [
            ("sums", data.sums.as_ref().map(|sums| sums.conversations)),
            ("passages", passages.map(|passages| passages.conversations)),
        ];
        if let Some((key, _)) = generated.iter().find(|(_, count)| *count == Some(0)) {
            let message = format!("0 {what} teach nothing; write how many there are to be");
            return at(key, message);
        }
        let parts = [("weight", Some(data.weight)), ("fraction", data.fraction)];
        for (key, part) in parts.into_iter().filter_map(|(key, part)| Some((key, part?))) {
            if !(part > 0.0 && part <= 1.0) {
                let message = format!(
                    "{part} is no part of the rows; write a number above 0, at most 1 (it is the part that is kept, not a \
                     share of the mixture)"
                );
                return at(key, message);
            }
        }
        if data.fraction.is_some() && data.weight != whole() {
            return at(
                "weight",
                "it is another name of `fraction`, which is there as well; keep one".to_owned(),
            );
        }
        if data.rows.is_some() && (data.weight != whole() || data.fraction.is_some()) {
            return at(
                "rows",
                "a number of rows and a part of them are two answers; keep one".to_owned(),
            );
        }
        if data.rows == Some(0) {
            return at(
                "rows",
                format!("0 {what} teach nothing; write how many there are to be"),
            );
        }
    }
    Ok(())
}

/// Refuses passages of a source that is not there, or that has tokens for a text.
pub(crate) fn check_passages(
    all: &[Conversations],
    sources: &BTreeMap<String, Source>,
) -> Result<(), Problem> {
    let texts = sources
        .iter()
        .filter(|(_, source)| !matches!(source.kind, SourceKind::Tokens(_)));
    let names: Vec<&str> = texts.map(|(name, _)| name.as_str()).collect();
    for (index, data) in all.iter().enumerate() {
        let named = data.passages.as_ref().map(|passages| passages.source.as_str());
        if let Some(name) = named.filter(|name| !names.contains(name)) {
            let message = unknown("source of text", name, &names);
            let path = KeyPath::default().key("data").index(index).key("passages");
            return Err(Problem::at("source", message).under(path));
        }
    }
    Ok(())
}

/// Refuses what is no day.
pub(crate) fn check_date(date: Option<&str>) -> Result<(), Problem> {
    match date.filter(|date| !is_date(date)) {
        None => Ok(()),
        Some(date) => {
            let message = format!("`{date}` is no date; write it as \"2025-07-08\"");
            Err(Problem::at("date", message))
        }
    }
}

/// Whether `text` is a day that there is, `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let shaped = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if text.len() != 10 || !shaped {
        return false;
    }
    let number = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse::<u32>().ok());
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}
