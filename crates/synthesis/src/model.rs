//! Who answers, and how it is asked.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use serde_json::{Value, json};
use smollm3_model::Sampling;

use crate::prompt::{BadRows, Prompt, Prompts};
use crate::{Answer, CheckpointModel, Endpoint, Finish, Place, Result, Settings, SynthesisError};

/// Whoever answers.
#[derive(Debug)]
pub enum Model {
    /// A folder on this machine.
    Checkpoint(CheckpointModel),
    /// A server.
    Endpoint(Endpoint),
}

/// A model with the way it is asked.
#[derive(Debug)]
pub struct Asked {
    /// What messages and the file of answers call it: "model", "strong", "weak".
    pub name: &'static str,
    /// Who answers.
    pub model: Model,
    /// How tokens are chosen. An endpoint is sent what is not neutral, and a seed drawn from this one.
    pub sampling: Sampling,
    /// Tokens of an answer, its thought among them.
    pub max_new_tokens: usize,
}

impl Asked {
    /// Writes down what the answers depend on.
    pub fn describe(&self, settings: &mut Settings) {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            seed,
        } = self.sampling;
        let mut set = |key: &str, value: Value| {
            settings.settings.insert(format!("{}.{key}", self.name), value);
        };
        set("temperature", json!(temperature));
        set("top_k", json!(top_k));
        set("top_p", json!(top_p));
        set("min_p", json!(min_p));
        set("repetition_penalty", json!(repetition_penalty));
        set("seed", json!(seed));
        set("max_new_tokens", json!(self.max_new_tokens));
        let at = match &self.model {
            Model::Checkpoint(checkpoint) => {
                set("files", json!(checkpoint.files));
                set(
                    "precision",
                    json!(format!("{:?}", checkpoint.precision).to_lowercase()),
                );
                set("date", json!(checkpoint.date.to_string()));
                json!({"checkpoint": checkpoint.folder, "batch": checkpoint.batch})
            }
            Model::Endpoint(endpoint) => {
                set("model", json!(endpoint.model));
                json!({"endpoint": endpoint.url.as_str(), "concurrency": endpoint.concurrency})
            }
        };
        settings.circumstances.insert(self.name.to_owned(), at);
    }
}

/// An answer on its way to the journal.
pub(crate) struct Found {
    pub place: Place,
    /// Hash of the prompt.
    pub asked: u64,
    pub answer: Answer,
}

/// What one model has to do.
pub(crate) struct Work<'a> {
    /// The model's number.
    pub number: u8,
    pub asked: &'a Asked,
    pub prompts: &'a Prompts,
    pub samples: u32,
    /// Answers that are there already.
    pub done: &'a HashSet<Place>,
    /// The user's wish, and another model's failure.
    pub halts: [&'a AtomicBool; 2],
    /// Counts new tokens, for those who watch.
    pub tokens: &'a AtomicU64,
    pub found: SyncSender<Found>,
}

impl Work<'_> {
    pub fn halted(&self) -> bool {
        self.halts.iter().any(|halt| halt.load(Ordering::Relaxed))
    }

    pub fn place(&self, prompt: &Prompt, sample: u32) -> Place {
        Place {
            prompt: prompt.index,
            model: self.number,
            sample,
        }
    }

    pub fn is_done(&self, prompt: &Prompt, sample: u32) -> bool {
        self.done.contains(&self.place(prompt, sample))
    }

    pub fn send(&self, prompt: &Prompt, sample: u32, answer: Answer) -> Result<()> {
        let found = Found {
            place: self.place(prompt, sample),
            asked: prompt.hash,
            answer,
        };
        // Nobody listens any more once the journal has failed.
        self.found.send(found).map_err(|_| SynthesisError::Interrupted)
    }

    /// A prompt that this model cannot be asked: an answer that says so, or the end.
    pub fn refused(&self, prompt: &Prompt, problem: String) -> Result<Answer> {
        match self.prompts.asking.bad_rows {
            BadRows::Skip => Ok(Answer {
                text: problem,
                finish: Finish::Refused,
                tokens: 0,
            }),
            BadRows::Stop => Err(SynthesisError::Prompt {
                place: prompt.place.clone(),
                problem: format!(
                    "the {} cannot be asked this: {problem}; --bad-rows skip leaves such prompts out",
                    match self.asked.name {
                        "model" => "model".to_owned(),
                        name => format!("{name} model"),
                    }
                ),
            }),
        }
    }
}
