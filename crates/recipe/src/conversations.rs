//! `[[stage.data]]`: the rows of stages on conversations and on pairs of answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;
use crate::error::{Problem, ensure};
use crate::key_path::KeyPath;
use crate::push::license;
use crate::section::unknown;
use crate::source::{Source, SourceKind};

/// `[[stage.data]]`: one data set of conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The fraction of the rows to keep, chosen by the run's seed independently of other data.
    #[serde(default, skip_serializing)]
    pub fraction: Option<f64>,
    /// Another name for `fraction`, as in SmolLM3's own configurations. Reading a recipe leaves the value here.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(extend("default" = "number"))]
    pub answers: SumAnswers,
}

/// The form of an answer to a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SumAnswers {
    /// `83`. In pairs, the right number is preferred to a wrong one.
    #[default]
    Number,
    /// `The sum is 83.` In pairs, it is preferred to the bare number.
    Sentence,
    /// Alternately one and the other.
    Mixed,
}

impl SumAnswers {
    /// Whether conversation `index` answers in a sentence.
    pub fn is_sentence(self, index: u64) -> bool {
        match self {
            Self::Number => false,
            Self::Sentence => true,
            Self::Mixed => !index.is_multiple_of(2),
        }
    }

    /// Refuses a form that pairs cannot have, with the key that asks for it.
    pub(crate) fn check_pairs(self, key: &str) -> Result<(), Problem> {
        let is_one = self != Self::Mixed;
        ensure!(
            is_one,
            key,
            "pairs prefer one form of answer; write \"number\" or \"sentence\""
        );
        Ok(())
    }
}

/// Generated conversations about text: the user gives the first quarter of a passage, and the assistant continues it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passages {
    /// The `[source.NAME]` that the passages come from. Its held-out documents are not used.
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
    ensure!(
        !all.is_empty(),
        "data",
        "there are no {what}; write [[stage.data]] with a name and paths"
    );
    for (index, data) in all.iter().enumerate() {
        let check = || {
            let is_twice = all[..index].iter().any(|earlier| earlier.name == data.name);
            ensure!(!is_twice, "name", "`{}` is used twice; rename one", data.name);
            let (sums, passages) = (data.sums.as_ref(), data.passages.as_ref());
            let has_passages = passages.is_some();
            ensure!(
                !(pairs && has_passages),
                "passages",
                "passages are not pairs; write paths or sums"
            );
            let places = [!data.paths.is_empty(), sums.is_some(), has_passages];
            ensure!(
                places.iter().filter(|given| **given).count() == 1,
                "paths",
                "{what} come from paths = [\"chats.jsonl\"], {forms}; write one of them"
            );
            if let (true, Some(sums)) = (pairs, sums) {
                sums.answers.check_pairs("sums")?;
            }
            let is_part = |part: f64| part > 0.0 && part <= 1.0;
            for (key, part) in [("weight", Some(data.weight)), ("fraction", data.fraction)] {
                let part = part.unwrap_or(1.0);
                ensure!(
                    is_part(part),
                    key,
                    "{part} is not a fraction of the rows; write a number above 0, at most 1 (it is the fraction to keep, \
                     not a share of the mixture)"
                );
            }
            let (has_weight, has_fraction) = (data.weight != whole(), data.fraction.is_some());
            ensure!(
                !(has_weight && has_fraction),
                "weight",
                "it is another name of `fraction`, which is written too; keep one"
            );
            ensure!(
                data.rows.is_none() || !(has_weight || has_fraction),
                "rows",
                "a number of rows contradicts a fraction of them; keep one"
            );
            for (key, count) in [
                ("sums", sums.map(|sums| sums.conversations)),
                ("passages", passages.map(|passages| passages.conversations)),
                ("rows", data.rows),
            ] {
                ensure!(
                    count != Some(0),
                    key,
                    "0 {what} teach nothing; write a larger number"
                );
            }
            Ok(())
        };
        let path = KeyPath::default().key("data").index(index);
        check().map_err(|problem: Problem| problem.under(path))?;
    }
    Ok(())
}

/// Refuses passages of a source that does not exist or holds tokens instead of text.
pub(crate) fn check_passages(
    all: &[Conversations],
    sources: &BTreeMap<String, Source>,
) -> Result<(), Problem> {
    let is_text = |source: &Source| !matches!(source.kind, SourceKind::Tokens(_));
    let texts = sources.iter().filter(|(_, source)| is_text(source));
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
