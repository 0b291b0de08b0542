//! `[evaluation]`: measurements of each stage's last checkpoint. They do not affect training.

use serde::{Deserialize, Serialize};

use crate::conversations::{SumAnswers, is_default};
use crate::error::{Problem, RecipeError};
use crate::key_path::KeyPath;
use crate::section::Section;
use crate::units::ContextLength;

/// The measurements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// `[evaluation.long_context]`.
    pub long_context: Option<LongContextProbes>,
    /// `[evaluation.exact_match]`.
    pub exact_match: Option<ExactMatch>,
    /// `[evaluation.held_out]`.
    pub held_out: Option<HeldOutText>,
    /// `[evaluation.preference]`.
    pub preference: Option<PreferencePairs>,
}

/// Loss on held-out text, by category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOutText {
    /// Tokens of a row, the same for every stage so that results can be compared.
    pub sequence_length: ContextLength,
    /// Rows of each source, at most.
    #[serde(default = "HeldOutText::default_rows")]
    pub rows: u64,
}

impl HeldOutText {
    fn default_rows() -> u64 {
        64
    }
}

/// Pairs of a right and a wrong sum, in both modes: how often the right one is likelier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferencePairs {
    /// Pairs in each mode.
    pub items: u32,
    /// Another seed gives other pairs.
    #[serde(default = "PreferencePairs::default_seed")]
    pub seed: u64,
    /// The form of the preferred answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub answers: SumAnswers,
}

impl PreferencePairs {
    /// Far from the seeds that a recipe trains on.
    fn default_seed() -> u64 {
        2_000_003
    }
}

/// Questions about sums, with thinking and without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExactMatch {
    /// Questions in each mode.
    pub items: u32,
    /// Another seed gives other questions.
    #[serde(default = "ExactMatch::default_seed")]
    pub seed: u64,
}

impl ExactMatch {
    /// Far from the seeds that a recipe trains on.
    fn default_seed() -> u64 {
        1_000_003
    }
}

/// Probes at several lengths, and held-out loss by position up to the longest of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongContextProbes {
    /// Tokens of a prompt with its answer.
    pub lengths: Vec<ContextLength>,
    /// The tasks; without any, only loss by position is measured.
    #[serde(default = "LongContextProbes::all_tasks")]
    pub tasks: Vec<ProbeTask>,
    /// Probes of each task at each length.
    #[serde(default = "LongContextProbes::default_items")]
    pub items: u32,
    /// Another seed gives other probes.
    #[serde(default)]
    pub seed: u64,
}

/// A kind of long-context probe; names in RULER's sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeTask {
    /// One fact in a text.
    Single,
    /// Four facts of one kind, asking for one of them.
    MultiKey,
    /// Four numbers of one thing, asking for all.
    MultiValue,
    /// Four facts, asking for all.
    MultiQuery,
    /// A value passed on through a chain of variables.
    VariableTracking,
    /// The most common entries of a list.
    CommonWords,
    /// The three most frequent of coded words.
    FrequentWords,
}

impl ProbeTask {
    /// All tasks.
    pub const ALL: [Self; 7] = [
        Self::Single,
        Self::MultiKey,
        Self::MultiValue,
        Self::MultiQuery,
        Self::VariableTracking,
        Self::CommonWords,
        Self::FrequentWords,
    ];

    /// Its name in recipes and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::MultiKey => "multi-key",
            Self::MultiValue => "multi-value",
            Self::MultiQuery => "multi-query",
            Self::VariableTracking => "variable-tracking",
            Self::CommonWords => "common-words",
            Self::FrequentWords => "frequent-words",
        }
    }
}

impl LongContextProbes {
    /// All tasks.
    pub fn all_tasks() -> Vec<ProbeTask> {
        ProbeTask::ALL.to_vec()
    }

    fn default_items() -> u32 {
        20
    }

    fn check(&self) -> Result<(), Problem> {
        let none = |key: &str, example: &str| {
            let message = format!(
                "there is nothing to measure; write {example}, or leave out [evaluation.long_context]"
            );
            Err(Problem::at(key, message))
        };
        if self.lengths.is_empty() {
            return none("lengths", "lengths = [\"4k\", \"8k\"]");
        }
        if self.items == 0 && !self.tasks.is_empty() {
            return none("items", "items = 20");
        }
        Ok(())
    }
}

impl Evaluation {
    pub(crate) fn read(mut section: Section<'_>) -> Result<Self, RecipeError> {
        let evaluation: Self = section.rest()?;
        if let Some(probes) = &evaluation.long_context {
            let at = KeyPath::default().key("long_context");
            probes
                .check()
                .map_err(|problem| section.problem(problem.under(at)))?;
        }
        let nothing = |table: &'static str, key: &'static str| {
            let message =
                format!("there is nothing to measure; write {key} = 100, or leave out [evaluation.{table}]");
            Err(section.error_at(&[table, key], message))
        };
        if evaluation
            .exact_match
            .as_ref()
            .is_some_and(|asked| asked.items == 0)
        {
            return nothing("exact_match", "items");
        }
        if let Some(asked) = &evaluation.preference {
            if asked.items == 0 {
                return nothing("preference", "items");
            }
            if let Some(message) = asked.answers.problem_of_pairs() {
                return Err(section.error_at(&["preference", "answers"], message));
            }
        }
        if evaluation.held_out.as_ref().is_some_and(|asked| asked.rows == 0) {
            return nothing("held_out", "rows");
        }
        Ok(evaluation)
    }
}
