//! Stages on conversations: `mid-train` and `sft`. One optimisation over packed rows of conversations.
//!
//! The number of rows, and so of steps, is known once the conversations are tokenised; until then a stage measured in
//! epochs has no steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smollm3_packing::{PackError, Packing, Settings, TooLong};

use crate::chat_rows::{ChatRows, Duration, TemplateChoice};
use crate::conversations::Reads;
use crate::error::{Problem, RecipeError, ensure};
use crate::optimisation::Optimisation;
use crate::section::Section;
use crate::training::{Loss, MOST_TOKENS};

/// What a stage on conversations reads.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FineTuning {
    /// The conversations, and the length of the stage.
    #[serde(flatten)]
    pub chat: ChatRows,
    /// The tokens that the loss is computed on; by default all in `mid-train`, the assistant's in `sft`.
    #[schemars(with = "Option<Learned>")]
    pub learned: Learned,
    /// How conversations share rows; by default `wrapped` in `mid-train`, `bfd` in `sft`.
    #[schemars(with = "Option<Packing>")]
    pub packing: Packing,
    /// How conversations longer than a row are treated; by default `split` with `wrapped` and `bfd-split`, else `truncate`.
    #[schemars(with = "Option<TooLong>")]
    pub too_long: TooLong,
    /// The number of conversations to pack together; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack_group: Option<usize>,
    /// How token losses become one number.
    #[schemars(default)]
    pub loss: Loss,
}

/// The tokens that the loss is computed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Learned {
    /// Those that the template marks as the assistant's.
    Assistant,
    /// All.
    All,
    /// The assistant's last turn.
    LastTurn,
}

/// The defaults of a kind of stage.
pub(crate) struct Defaults {
    template: &'static str,
    learned: Learned,
    packing: Packing,
}

/// Reasoning mid-training: plain ChatML, loss on all tokens, one stream of tokens.
pub(crate) const MID_TRAIN: Defaults = Defaults {
    template: "chatml",
    learned: Learned::All,
    packing: Packing::Wrapped,
};

/// Supervised fine-tuning: SmolLM3's template, loss on the answers, best fit.
pub(crate) const SFT: Defaults = Defaults {
    template: "smollm3",
    learned: Learned::Assistant,
    packing: Packing::Bfd,
};

impl FineTuning {
    /// Takes all that is left of a stage's table.
    pub(crate) fn read(stage: &mut Section<'_>, defaults: &Defaults) -> Result<Self, RecipeError> {
        let packing = stage.optional("packing")?.unwrap_or(defaults.packing);
        let too_long = stage.optional("too_long")?;
        Ok(Self {
            learned: stage.optional("learned")?.unwrap_or(defaults.learned),
            packing,
            too_long: too_long.unwrap_or(packing.usual_too_long()),
            pack_group: stage.optional("pack_group")?,
            loss: stage.or_default("loss")?,
            chat: ChatRows::read(stage, TemplateChoice::BuiltIn(defaults.template.to_owned()))?,
        })
    }

    /// How conversations become rows of the stage's length.
    pub fn packing(&self, optimisation: &Optimisation) -> Settings {
        Settings {
            // Beyond 32 bits a row is too long whatever its length.
            row: u32::try_from(optimisation.sequence_length.0).unwrap_or(u32::MAX),
            packing: self.packing,
            too_long: self.too_long,
            group: self.pack_group,
        }
    }

    pub(crate) fn check(&mut self, optimisation: &Optimisation) -> Result<(), Problem> {
        let per_step = optimisation.tokens_per_step().max(1);
        let (length, steps) = match self.chat.duration {
            // Not known yet. A schedule that is wrong for the most steps is wrong for any number.
            Duration::Epochs(_) => ("epochs", (MOST_TOKENS / per_step).max(1)),
            Duration::Until(until) => {
                let steps = until.steps(per_step, 0);
                ensure!(
                    steps > 0,
                    "until",
                    "{until} are less than a step of {per_step} tokens; write \"200 steps\" or the like"
                );
                ("until", steps)
            }
        };
        self.chat
            .check(Reads::Conversations, optimisation, length, steps)?;
        self.packing(optimisation).check().map_err(|error| {
            let key = match error {
                PackError::Row { .. } => "sequence_length",
                PackError::EmptyGroup | PackError::GroupOfNone { .. } => "pack_group",
                _ => "too_long",
            };
            Problem::at(key, error.to_string())
        })
    }
}
