//! Who answers, and how it is asked.

use serde_json::{Value, json};
use smollm3_model::Sampling;

use crate::{CheckpointModel, Endpoint, Settings};

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
