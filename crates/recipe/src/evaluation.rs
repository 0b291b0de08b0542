//! `[evaluation]`: measurements of each stage's last checkpoint. They do not affect training.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversations::SumAnswers;
use crate::defaults::{is_default, whole_number};
use crate::error::{Problem, RecipeError, ensure};
use crate::section::Section;
use crate::units::ContextLength;

/// The measurements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Probes of long texts, and loss by position.
    pub long_context: Option<LongContextProbes>,
    /// Sums to answer.
    pub exact_match: Option<ExactMatch>,
    /// Loss on held-out text.
    pub held_out: Option<HeldOutText>,
    /// Pairs of a right and a wrong sum.
    pub preference: Option<PreferencePairs>,
}

/// Loss on held-out text, by category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldOutText {
    /// Tokens of a row, the same for every stage so that results can be compared.
    pub sequence_length: ContextLength,
    /// Rows of each source, at most.
    #[serde(default = "whole_number::<u64, 64>")]
    pub rows: u64,
}

/// Pairs of a right and a wrong sum, in both modes: how often the right one is more likely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferencePairs {
    /// Pairs in each mode.
    pub items: u32,
    /// Another seed gives other pairs. The default is far from the seeds that recipes train on.
    #[serde(default = "whole_number::<u64, 2_000_003>")]
    pub seed: u64,
    /// The form of the preferred answer.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "number"))]
    pub answers: SumAnswers,
}

/// Questions about sums, with thinking and without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExactMatch {
    /// Questions in each mode.
    pub items: u32,
    /// Another seed gives other questions. The default is far from the seeds that recipes train on.
    #[serde(default = "whole_number::<u64, 1_000_003>")]
    pub seed: u64,
}

/// Probes at several lengths, and held-out loss by position up to the longest of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongContextProbes {
    /// Tokens of a prompt with its answer.
    pub lengths: Vec<ContextLength>,
    /// The tasks; if empty, only loss by position is measured.
    #[serde(default = "LongContextProbes::all_tasks")]
    pub tasks: Vec<ProbeTask>,
    /// Probes of each task at each length.
    #[serde(default = "whole_number::<u32, 20>")]
    pub items: u32,
    /// Held-out documents that loss by position is measured on, at most.
    #[serde(default = "whole_number::<u32, 64>")]
    pub documents: u32,
    /// Another seed gives other probes.
    #[serde(default)]
    pub seed: u64,
}

/// A kind of long-context probe, named as in RULER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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
}

/// As in recipes.
impl fmt::Display for ProbeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl LongContextProbes {
    /// All tasks.
    pub fn all_tasks() -> Vec<ProbeTask> {
        ProbeTask::ALL.to_vec()
    }

    fn check(&self) -> Result<(), Problem> {
        const REST: &str = "or leave out [evaluation.long_context]";
        let (no_lengths, no_items) = (self.lengths.is_empty(), self.items == 0 && !self.tasks.is_empty());
        let no_documents = self.documents == 0 && self.tasks.is_empty();
        ensure!(
            !no_lengths,
            "lengths",
            "nothing is measured; write lengths = [\"4k\", \"8k\"], {REST}"
        );
        ensure!(
            !no_items,
            "items",
            "nothing is measured; write items = 20, {REST}"
        );
        ensure!(
            !no_documents,
            "documents",
            "nothing is measured; write documents = 64, {REST}"
        );
        Ok(())
    }
}

impl Evaluation {
    pub(crate) fn read(mut section: Section<'_>) -> Result<Self, RecipeError> {
        let evaluation: Self = section.rest()?;
        evaluation.check().map_err(|problem| section.problem(problem))?;
        Ok(evaluation)
    }

    fn check(&self) -> Result<(), Problem> {
        if let Some(probes) = &self.long_context {
            probes.check().map_err(|problem| problem.below("long_context"))?;
        }
        for (table, key, count) in [
            (
                "exact_match",
                "items",
                self.exact_match.as_ref().map(|asked| u64::from(asked.items)),
            ),
            (
                "preference",
                "items",
                self.preference.as_ref().map(|asked| u64::from(asked.items)),
            ),
            ("held_out", "rows", self.held_out.as_ref().map(|asked| asked.rows)),
        ] {
            if count == Some(0) {
                let message =
                    format!("nothing is measured; write {key} = 100, or leave out [evaluation.{table}]");
                return Err(Problem::at(key, message).below(table));
            }
        }
        let answers = self
            .preference
            .as_ref()
            .map(|asked| asked.answers)
            .unwrap_or_default();
        answers
            .check_pairs("answers")
            .map_err(|problem| problem.below("preference"))
    }
}
