//! The keys that stages on conversations and on pairs of answers share: length, template, rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversations::{Conversations, Reads, check_data};
use crate::defaults::is_default;
use crate::error::{Problem, RecipeError, ensure};
use crate::hub_id::HubId;
use crate::key_path::KeyPath;
use crate::keys::FileOr;
use crate::optimisation::Optimisation;
use crate::section::Section;
use crate::training::{Loss, Training};
use crate::units::Span;

/// Rows of conversations or of pairs, and how they become text.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatRows {
    /// The length of the stage.
    #[serde(flatten)]
    #[schemars(with = "DurationKeys")]
    pub duration: Duration,
    /// What turns a row into text: `smollm3`, `chatml` or `chatml-masked`, `checkpoint` for that of the checkpoint, a file,
    /// or `hf://owner/name`. By default `chatml` in `mid-train`, `smollm3` in `sft`, `checkpoint` in `apo`.
    #[schemars(with = "Option<TemplateChoice>")]
    pub template: TemplateChoice,
    /// The date that the template may ask for, `YYYY-MM-DD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Whether the template may leave out parts of a row.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(default, extend("default" = "refuse"))]
    pub template_drops: TemplateDrops,
    /// How special tokens in the text of a row are read.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(default, extend("default" = "text"))]
    pub special_tokens: SpecialTokens,
    /// The rows: `[[stage.data]]` tables, or `data = "sft.toml"` for a file of `[[data]]` tables.
    #[schemars(with = "FileOr<Vec<Conversations>>")]
    pub data: Vec<Conversations>,
}

impl ChatRows {
    /// Takes its keys out of a stage's table, which must be empty afterwards.
    pub(crate) fn read(stage: &mut Section<'_>, template: TemplateChoice) -> Result<Self, RecipeError> {
        let (epochs, until) = (stage.optional("epochs")?, stage.optional("until")?);
        let template = stage.optional("template")?.unwrap_or(template);
        let date = stage.optional("date")?;
        let template_drops = stage.or_default("template_drops")?;
        let special_tokens = stage.or_default("special_tokens")?;
        let data = stage.or_default("data")?;
        // A misspelt key is reported before what is missing without it.
        stage.finish()?;
        let duration = Duration::of(epochs, until).map_err(|problem| stage.problem(problem))?;
        Ok(Self {
            duration,
            template,
            date,
            template_drops,
            special_tokens,
            data,
        })
    }

    /// How its rows become text.
    pub fn text(&self) -> ChatText<'_> {
        ChatText {
            template: &self.template,
            date: self.date.as_deref(),
            template_drops: self.template_drops,
            special_tokens: self.special_tokens,
        }
    }

    /// Checks a stage of `steps` steps, which the key `length` gives; `reads` is what its rows are.
    pub(crate) fn check(
        &mut self,
        reads: Reads,
        optimisation: &Optimisation,
        length: &str,
        steps: u64,
    ) -> Result<(), Problem> {
        let training = Training::of_steps("", optimisation.clone(), Loss::default(), steps);
        training.check().map_err(|problem| {
            // The only phase is the stage itself; the recipe writes its length.
            match problem.path.below(&KeyPath::default().key("phase")) {
                Some(_) => Problem::at(length, problem.message),
                None => problem,
            }
        })?;
        if let Some(date) = &self.date {
            ensure!(
                is_date(date),
                "date",
                "`{date}` is not a date; write it as \"2025-07-08\""
            );
        }
        if let Some(validation) = &optimisation.validation {
            validation
                .check(&self.data)
                .map_err(|problem| problem.below("validation"))?;
        }
        check_data(&self.data, reads)?;
        self.data.iter_mut().for_each(Conversations::with_one_name);
        Ok(())
    }
}

/// The length of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Duration {
    /// This many passes over all rows.
    Epochs(f64),
    /// This many steps or tokens.
    Until(Span),
}

/// The length of a stage on rows. One of the two keys is written.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct DurationKeys {
    /// The number of passes over all rows, such as 4 or 0.5. Either this or `until` is written.
    epochs: Option<f64>,
    /// The length of the stage in steps or, not for pairs, in tokens.
    until: Option<Span>,
}

/// The most passes over the data: more would not end, and their steps could not be counted.
const MOST_EPOCHS: f64 = 10_000.0;

impl Duration {
    /// Reads `epochs` and `until`, exactly one of which must be written.
    fn of(epochs: Option<f64>, until: Option<Span>) -> Result<Self, Problem> {
        match (epochs, until) {
            (Some(epochs), None) => {
                ensure!(
                    epochs > 0.0,
                    "epochs",
                    "{epochs} epochs are not a length; write a positive number"
                );
                let is_few = epochs <= MOST_EPOCHS;
                ensure!(
                    is_few,
                    "epochs",
                    "{epochs} epochs are too many; write at most {MOST_EPOCHS}"
                );
                Ok(Self::Epochs(epochs))
            }
            (None, Some(until)) => {
                let is_percent = matches!(until, Span::Percent(_));
                ensure!(
                    !is_percent,
                    "until",
                    "it cannot be a percentage; write \"200 steps\" or tokens"
                );
                Ok(Self::Until(until))
            }
            _ => {
                let message = "a stage needs a length; write either epochs = 4 or until = \"200 steps\"";
                Err(Problem::at("", message))
            }
        }
    }

    /// The steps of a stage on `rows` rows.
    pub(crate) fn steps(self, optimisation: &Optimisation, rows: u64) -> u64 {
        let per_step = optimisation.sequences_per_step().max(1) as f64;
        let steps = match self {
            Self::Epochs(epochs) => (epochs * rows as f64 / per_step).round() as u64,
            Self::Until(until) => until.steps(optimisation.tokens_per_step().max(1), 0),
        };
        steps.max(1)
    }
}

/// Where the template of conversations comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
pub enum TemplateChoice {
    /// A built-in template, by name.
    BuiltIn(String),
    /// That of the checkpoint that the stage starts from.
    Checkpoint,
    /// A file, from the folder of the recipe.
    File(String),
    /// That of a model on the Hub, `hf://owner/name`; without `hf://` it is a file.
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

/// Whether the template may leave out parts of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TemplateDrops {
    /// No: the first such row is an error that names its line, message and key.
    #[default]
    Refuse,
    /// Yes: the row is used as rendered, and counted by the kind of part left out.
    Count,
}

/// How special tokens in the text of a row are read, such as `<|im_end|>` in a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpecialTokens {
    /// As characters: only the template writes special tokens.
    #[default]
    Text,
    /// Not at all: the row is refused.
    Refuse,
}

/// How rows become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatText<'a> {
    /// The template.
    pub template: &'a TemplateChoice,
    /// The date that it may ask for.
    pub date: Option<&'a str>,
    /// Whether it may leave out parts of a row.
    pub template_drops: TemplateDrops,
    /// How special tokens in the text of a row are read.
    pub special_tokens: SpecialTokens,
}

/// Whether `text` is a date of the calendar, `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let parsed = text.parse::<toml::value::Datetime>();
    parsed.is_ok_and(|date| date.date.is_some() && date.time.is_none())
}
