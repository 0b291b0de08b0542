//! State shared by all requests: the model, the queue, the limits.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use smollm3_chat::NaiveDate;
use smollm3_inference::TextModel;
use smollm3_model::Sampling;
use tokio::sync::Semaphore;

use crate::limits::Limits;
use crate::queue::Queue;
use crate::token_text::TokenTexts;
use crate::wire::{Checked, Model, Refusal};
use crate::worker::Job;

/// State shared by all requests.
pub(crate) struct Shared {
    pub model: Arc<TextModel>,
    pub name: String,
    pub texts: TokenTexts,
    pub date: NaiveDate,
    pub limits: Limits,
    pub created: u64,
    pub queue: Queue<Job>,
    pub places: Arc<Semaphore>,
    /// Held while a body is parsed, which takes about forty times its size.
    pub reading: Semaphore,
}

impl Shared {
    /// The model in `/v1/models`.
    pub fn card(&self) -> Model<'_> {
        Model {
            id: &self.name,
            object: "model",
            created: self.created,
            owned_by: "smollm3",
            max_model_len: self.context(),
        }
    }

    /// The model's context in tokens.
    pub fn context(&self) -> usize {
        self.model.model.max_positions()
    }

    /// The default sampling: the checkpoint's, else OpenAI's.
    pub fn sampling(&self) -> Sampling {
        let own = &self.model.generation.sampling;
        // Checkpoints that are not to be sampled have temperature 0.
        match own.temperature > 0.0 {
            true => own.clone(),
            false => Sampling {
                temperature: 1.0,
                ..Sampling::default()
            },
        }
    }

    /// Refuses requests for another model.
    pub fn check_model(&self, asked: Option<&str>) -> Checked<()> {
        match asked {
            Some(asked) if asked != self.name => Err(Refusal::no_such_model(asked, &self.name)),
            _ => Ok(()),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
