//! Rows with two answers as two documents: the prompt with the chosen answer, and with the rejected one.
//!
//! Prompt and answers are tokenised apart, as TRL does, so that the prompt has the same tokens twice. What the original's
//! TRL did beyond that is optional: a second end of turn after each answer, only the last 512 tokens of a prompt, answers cut
//! at the start, and settings of the template ignored. All of it is off by default: the model never writes a second end of turn,
//! an answer without its question teaches the wrong thing, and a row without thinking should not be shown as one with it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use smollm3_chat::tokens::{IM_END, check_tokens};
use smollm3_chat::{Pair, RenderedPair, render_pair};
use smollm3_conversations::{
    ChatSetup, ConversationsError, Document, Encoded, Generator, Result, RowBatch, RowEncoder, sum_pair,
};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::Columns;
use smollm3_recipe::{ContextLength, Preference, Recipe, Stage, TemplateKwargs, TooLongPair};

/// Encodes the rows of a stage as pairs.
#[derive(Debug, Clone)]
pub struct PairEncoder {
    /// Template and date.
    pub setup: ChatSetup,
    settings: Preference,
    sequence_length: ContextLength,
    /// The end of a turn.
    end: u32,
}

impl PairEncoder {
    /// That of a stage.
    ///
    /// # Errors
    /// As [`ChatSetup::of`].
    pub fn of(recipe: &Recipe, tokenizer: &Tokenizer, stage: &Stage, settings: &Preference) -> Result<Self> {
        Ok(Self {
            setup: ChatSetup::of(recipe, tokenizer, stage, settings.chat.text())?,
            settings: settings.clone(),
            sequence_length: stage.optimisation()?.sequence_length,
            end: check_tokens(tokenizer)?.im_end,
        })
    }

    /// A row as text, and the kinds of what the template leaves out of it.
    ///
    /// # Errors
    /// It is no pair, the template refuses it, or it holds what the stage refuses.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        row: &Value,
    ) -> smollm3_chat::Result<(RenderedPair, BTreeSet<&'static str>)> {
        let mut pair = Pair::from_row(row)?;
        if self.settings.template_kwargs == TemplateKwargs::Ignore {
            pair.template_kwargs = Map::new();
        }
        let mut dropped = BTreeSet::new();
        for answer in [&pair.chosen, &pair.rejected] {
            dropped.extend(self.setup.render(tokenizer, &pair.conversation(answer))?.1);
        }
        let rendered = render_pair(tokenizer, &self.setup.template, &pair, &self.setup.render)?;
        Ok((rendered, dropped))
    }

    /// A pair's documents, the chosen answer's first, or why it is left out.
    ///
    /// # Errors
    /// A pair is too long and the settings make that an error, or the tokenizer fails.
    pub fn documents(&self, tokenizer: &Tokenizer, pair: &RenderedPair) -> Result<Cut> {
        let prompt = pair.prompt.encode(tokenizer)?;
        let mut answers = [pair.chosen.encode(tokenizer)?, pair.rejected.encode(tokenizer)?];
        if answers[0] == answers[1] {
            return Ok(Err("whose answers are equal"));
        }
        if [&pair.chosen, &pair.rejected]
            .iter()
            .any(|answer| is_empty(&answer.text))
        {
            return Ok(Err("with an empty answer"));
        }
        if self.settings.extra_eos {
            answers.iter_mut().for_each(|answer| answer.push(self.end));
        }
        let limits = PairLimits {
            length: self.sequence_length.0 as usize,
            prompt: self.settings.prompt_limit.map(|limit| limit.0 as usize),
            too_long: self.settings.too_long,
        };
        limits.cut(prompt, answers)
    }
}

/// Whether an answer is nothing but the end of its turn.
fn is_empty(answer: &str) -> bool {
    answer.trim().trim_end_matches(IM_END).trim().is_empty()
}

/// The documents of a pair, or why it is left out.
pub type Cut = std::result::Result<[Document; 2], &'static str>;

/// How long a pair may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairLimits {
    /// Tokens of a prompt with an answer.
    pub length: usize,
    /// Tokens of a prompt; the last ones are kept.
    pub prompt: Option<usize>,
    /// How a longer pair is handled.
    pub too_long: TooLongPair,
}

impl PairLimits {
    /// The documents of a prompt with its two answers, the chosen one first.
    ///
    /// # Errors
    /// It is too long, and that is an error.
    pub fn cut(&self, mut prompt: Vec<u32>, answers: [Vec<u32>; 2]) -> Result<Cut> {
        let most = self.length;
        if let Some(limit) = self.prompt {
            prompt.drain(..prompt.len().saturating_sub(limit));
        }
        let length = prompt.len() + answers.iter().map(Vec::len).max().unwrap_or(0);
        match self.too_long {
            TooLongPair::Drop if length > most => return Ok(Err("that are too long")),
            TooLongPair::Error if length > most => {
                return Err(ConversationsError::Refused(format!(
                    "a prompt with its answer has {length} tokens, but sequence_length is {most}; raise it, or write \
                     too_long = \"drop\""
                )));
            }
            _ => {}
        }
        let documents = answers.map(|answer| {
            let learned = [vec![false; prompt.len()], vec![true; answer.len()]].concat();
            let ids = [prompt.clone(), answer].concat();
            let kept = match self.too_long {
                TooLongPair::KeepEnd => ids.len().saturating_sub(most)..ids.len(),
                _ => 0..ids.len().min(most),
            };
            Document {
                ids: ids.get(kept.clone()).unwrap_or_default().to_vec(),
                learned: learned.get(kept).unwrap_or_default().to_vec(),
            }
        });
        // The first token of a document is never predicted.
        let learned = |document: &Document| document.learned.iter().skip(1).any(|learned| *learned);
        Ok(match documents.iter().all(learned) {
            true => Ok(documents),
            false => Err("whose prompt leaves no room for an answer"),
        })
    }
}

impl RowEncoder for PairEncoder {
    fn identity(&self) -> Value {
        let settings = &self.settings;
        json!([
            self.setup.identity(),
            self.sequence_length,
            settings.template_kwargs,
            settings.extra_eos,
            settings.prompt_limit,
            settings.too_long
        ])
    }

    fn columns(&self) -> Columns {
        Columns::named(Pair::COLUMNS)
    }

    fn generator(&self) -> Generator {
        |sums, index| sum_pair(sums.seed, index, sums.think, sums.answers)
    }

    fn encode(&self, tokenizer: &Tokenizer, batch: &RowBatch, index: usize) -> Result<Encoded> {
        let row = batch.rows().get(index).unwrap_or(&Value::Null);
        let rendered = self.render(tokenizer, row);
        let (rendered, dropped) = rendered.map_err(|source| ConversationsError::Row {
            place: batch.place(index),
            source,
        })?;
        let documents = self
            .documents(tokenizer, &rendered)
            .map_err(|error| match error {
                ConversationsError::Refused(problem) => {
                    ConversationsError::Refused(format!("{}: {problem}", batch.place(index)))
                }
                other => other,
            })?;
        Ok(match documents {
            Err(reason) => Encoded::LeftOut(reason),
            Ok(documents) => Encoded::Kept {
                documents: documents.into(),
                // All pairs of a prompt stay on one side.
                held_out_by: rendered.prompt.text,
                dropped,
            },
        })
    }
}
