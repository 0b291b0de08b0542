//! How a row of data becomes documents: tokens, and which of them the loss is about.

use serde_json::{Value, json};
use smollm3_chat::{Conversation, Learned, encode};
use smollm3_corpus::Tokenizer;
use smollm3_recipe::{FineTuning, Learned as Wanted, Recipe, Stage};

use crate::source::Generator;
use crate::{ChatSetup, Result, RowBatch, SftError, conversation, sum, sum_conversation};

/// Tokens that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Which of them the loss is about.
    pub learned: Vec<bool>,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// Its documents.
    Kept {
        /// As many for each row.
        documents: Vec<Document>,
        /// Rows of the same text are held out together.
        held_out_by: String,
    },
    /// It is left out, for this reason.
    LeftOut(&'static str),
}

/// What a stage makes of its rows.
pub trait RowEncoder: Sync {
    /// Stands for its settings.
    fn identity(&self) -> Value;

    /// Makes rows of generated data.
    fn generator(&self) -> Generator;

    /// What becomes of a row.
    ///
    /// # Errors
    /// [`SftError::Row`] if it is not what the stage reads.
    fn encode(&self, tokenizer: &Tokenizer, batch: &RowBatch, index: usize) -> Result<Encoded>;
}

/// Rows are conversations, each of them a document.
#[derive(Debug, Clone)]
pub struct ConversationEncoder {
    /// Template and date.
    pub setup: ChatSetup,
    /// The tokens that the loss is about.
    pub learned: Learned,
}

impl ConversationEncoder {
    /// That of a stage.
    ///
    /// # Errors
    /// As [`ChatSetup::of`], and a template that does not mark what is to be learned.
    pub fn of(recipe: &Recipe, tokenizer: &Tokenizer, stage: &Stage, settings: &FineTuning) -> Result<Self> {
        let setup = ChatSetup::of(
            recipe,
            tokenizer,
            stage,
            &settings.template,
            settings.date.as_deref(),
        )?;
        let learned = match settings.learned {
            Wanted::Assistant => Learned::Assistant,
            Wanted::All => Learned::All,
            Wanted::LastTurn => Learned::LastTurn,
        };
        setup.template.check_learned(learned)?;
        Ok(Self { setup, learned })
    }

    fn document(&self, tokenizer: &Tokenizer, talk: &Conversation) -> smollm3_chat::Result<Document> {
        let rendered = self.setup.template.render(talk, &self.setup.render)?;
        let encoded = encode(tokenizer, &rendered)?;
        let learned = self.setup.template.mask(&encoded, self.learned)?;
        Ok(Document {
            ids: encoded.ids,
            learned,
        })
    }
}

impl RowEncoder for ConversationEncoder {
    fn identity(&self) -> Value {
        json!([self.setup.identity(), format!("{:?}", self.learned)])
    }

    fn generator(&self) -> Generator {
        |sums, index| json!(sum_conversation(&sum(sums.seed, index), sums.think))
    }

    fn encode(&self, tokenizer: &Tokenizer, batch: &RowBatch, index: usize) -> Result<Encoded> {
        let talk = conversation(batch, index)?;
        let document = self.document(tokenizer, &talk).map_err(|source| SftError::Row {
            place: batch.place(index),
            source,
        })?;
        // The first token is never predicted.
        Ok(match document.learned.iter().skip(1).any(|learned| *learned) {
            false => Encoded::LeftOut("with nothing to learn"),
            true => Encoded::Kept {
                held_out_by: json!(talk).to_string(),
                documents: vec![document],
            },
        })
    }
}
