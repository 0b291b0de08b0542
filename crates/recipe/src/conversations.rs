//! `[[stage.data]]`: the rows of stages on conversations and on pairs of answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::key_path::KeyPath;
use crate::push::license;
use crate::section::unknown;
use crate::source::{Source, SourceKind};

/// Whether a setting has its default value. It is left out of canonical forms then, as older versions did not have the key.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// Instead of files: generated questions about sums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<Sums>,
    /// Instead of files: passages of a source's text to continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passages: Option<Passages>,
    /// The fraction of the rows to keep, under its name in recipes. Reading moves it to `weight`.
    #[serde(default, skip_serializing)]
    pub fraction: Option<f64>,
    /// The fraction of the rows to keep, chosen by the run's seed independently of other data. A recipe calls it `fraction`,
    /// or `weight` as SmolLM3's own configurations do.
    #[serde(default = "whole")]
    pub weight: f64,
    /// Instead of a fraction, a number of rows, chosen in the same way.
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
    /// Moves `fraction` to `weight`, so that a recipe is the same under both names.
    pub(crate) fn with_one_name(&mut self) {
        self.weight = self.fraction.take().unwrap_or(self.weight);
    }

    /// How many of `rows` rows are kept, rounded down as in the original.
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
    /// The form of the final answer; of pairs, of the preferred one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub answers: SumAnswers,
}

/// The form of an answer to a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SumAnswers {
    /// `83`. In pairs, the right number is preferred to a wrong one.
    #[default]
    Number,
    /// `47 + 36 = 83`. In pairs, the right equation is preferred to the bare number and to a wrong equation, alternately.
    Equation,
    /// Alternately one and the other.
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

    /// Why pairs cannot have this form.
    pub(crate) fn problem_of_pairs(self) -> Option<String> {
        (self == Self::Mixed)
            .then(|| "pairs prefer one form of answer; write \"number\" or \"equation\"".to_owned())
    }
}

/// Generated conversations about text: the user gives the first quarter of a passage, the assistant continues it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passages {
    /// The `[source.NAME]` that the passages are from. Its held-out documents are not used.
    pub source: String,
    /// How many.
    pub conversations: u64,
    /// Chooses the documents.
    #[serde(default)]
    pub seed: u64,
    /// The mode of the request (`/think` or `/no_think`); no answer thinks.
    pub think: bool,
}

/// What a stage that trains reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    Text,
    Conversations,
    Pairs,
}

fn whole() -> f64 {
    1.0
}

/// Refuses data sets without rows or with contradictory keys, and names that occur twice.
pub(crate) fn check_data(all: &[Conversations], reads: Reads) -> Result<(), Problem> {
    let pairs = reads == Reads::Pairs;
    let (what, forms) = match pairs {
        false => ("conversations", "from sums = { … } or from passages = { … }"),
        true => ("pairs", "or from sums = { … }"),
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
        if pairs && passages.is_some() {
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
        if let (true, Some(sums)) = (pairs, &data.sums)
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

/// Refuses passages of a source that does not exist or holds tokens instead of text.
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
