//! Encodes a conversation as a document.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use smollm3_chat::{Conversation, Encoded as Tokens, Learned, Rendered, encode};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::Columns;
use smollm3_packing::TooLong;
use smollm3_recipe::{FineTuning, Learned as Wanted, Recipe, Stage};

use crate::document::{Document, Encoded, RowEncoder};
use crate::error::{ConversationsError, Result};
use crate::source::{Generator, RowBatch, conversation};
use crate::sums::{sum, sum_conversation};
use crate::template::ChatSetup;

/// Rows are conversations, each of them a document.
#[derive(Debug, Clone)]
pub struct ConversationEncoder {
    /// Template and date.
    pub setup: ChatSetup,
    /// Which tokens are learned.
    pub learned: Learned,
    /// The length at which longer rows are truncated, if they are.
    pub cut: Option<usize>,
}

impl ConversationEncoder {
    /// That of a stage.
    ///
    /// # Errors
    /// As [`ChatSetup::of`], and a template that does not mark the learned tokens.
    pub fn of(recipe: &Recipe, tokenizer: &Tokenizer, stage: &Stage, settings: &FineTuning) -> Result<Self> {
        let setup = ChatSetup::of(recipe, tokenizer, stage, settings.chat.text())?;
        let learned = match settings.learned {
            Wanted::Assistant => Learned::Assistant,
            Wanted::All => Learned::All,
            Wanted::LastTurn => Learned::LastTurn,
        };
        setup.template.check_learned(learned)?;
        let length = stage.optimisation()?.sequence_length.0 as usize;
        let cut = (settings.too_long == TooLong::Truncate).then_some(length);
        Ok(Self { setup, learned, cut })
    }

    /// A conversation as text and tokens, and the kinds of dropped content.
    ///
    /// # Errors
    /// The template refuses it, or it holds what the stage refuses.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        talk: &Conversation,
    ) -> smollm3_chat::Result<(Rendered, Tokens, BTreeSet<&'static str>)> {
        let (rendered, dropped) = self.setup.render(tokenizer, talk)?;
        let encoded = encode(tokenizer, &rendered)?;
        Ok((rendered, encoded, dropped))
    }

    /// Why a conversation has nothing to learn, if so.
    fn nothing_to_learn(&self, talk: &Conversation, learned: &[bool]) -> Option<&'static str> {
        let last_only = match self.learned {
            Learned::All => None,
            Learned::Assistant => Some(false),
            Learned::LastTurn => Some(true),
        };
        if last_only.is_some_and(|last| talk.has_empty_answers(last)) {
            return Some("with empty answers");
        }
        // The first token is never predicted.
        let first = learned.iter().skip(1).position(|learned| *learned);
        match (first, self.cut) {
            (None, _) => Some("with nothing to learn"),
            (Some(before), Some(cut)) if before + 1 >= cut => Some("too long before the first answer"),
            _ => None,
        }
    }
}

impl RowEncoder for ConversationEncoder {
    fn identity(&self) -> Value {
        json!([self.setup.identity(), format!("{:?}", self.learned), self.cut])
    }

    fn columns(&self) -> Columns {
        Columns::named(Conversation::COLUMNS)
    }

    fn generator(&self) -> Generator {
        |sums, index| {
            let problem = sum(sums.seed, index);
            json!(sum_conversation(
                &problem,
                sums.think,
                sums.answers.is_sentence(index)
            ))
        }
    }

    fn encode(&self, tokenizer: &Tokenizer, batch: &RowBatch, index: usize) -> Result<Encoded> {
        let talk = conversation(batch, index)?;
        let wrong = |source| ConversationsError::Row {
            place: batch.place(index),
            source,
        };
        let (_, encoded, dropped) = self.tokens(tokenizer, &talk).map_err(wrong)?;
        let learned = self.setup.template.mask(&encoded, self.learned).map_err(wrong)?;
        Ok(match self.nothing_to_learn(&talk, &learned) {
            Some(reason) => Encoded::LeftOut(reason),
            None => Encoded::Kept {
                held_out_by: json!(talk).to_string(),
                documents: vec![Document {
                    ids: encoded.ids,
                    learned,
                }],
                dropped,
            },
        })
    }
}
