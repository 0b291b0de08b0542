//! Models, and how they are sampled.

use serde_json::{Value, json};
use smollm3_model::Sampling;

use crate::worker::Worker;
use crate::{CheckpointModel, Endpoint, Result, Settings};

/// A model that generates answers.
#[derive(Debug)]
pub enum Model {
    /// A folder on this machine.
    Checkpoint(CheckpointModel),
    /// A server.
    Endpoint(Endpoint),
}

impl Model {
    pub(crate) fn answer(&self, worker: &Worker<'_>) -> Result<()> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.answer(worker),
            Self::Endpoint(endpoint) => endpoint.answer(worker),
        }
    }
}

/// A model with its sampling settings.
#[derive(Debug)]
pub struct Asked {
    /// Its name in messages and in the file of answers: "model", "strong", "weak".
    pub name: &'static str,
    /// The model.
    pub model: Model,
    /// How tokens are sampled. An endpoint gets the options that are not neutral, and a seed derived from this one.
    pub sampling: Sampling,
    /// Maximum number of tokens of an answer, including its thought.
    pub max_new_tokens: usize,
}

impl Asked {
    /// Adds what the answers depend on to `settings`.
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
