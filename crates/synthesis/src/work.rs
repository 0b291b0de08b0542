//! What one model has to do, and its answers on their way.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use smollm3_model::Sampling;

use crate::prompt::{BadRows, Prompt, Prompts};
use crate::{Answer, Finish, Place, Result, SynthesisError};

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
    /// What messages call it.
    pub name: &'static str,
    pub sampling: &'a Sampling,
    pub max_new_tokens: usize,
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
                    match self.name {
                        "model" => "model".to_owned(),
                        name => format!("{name} model"),
                    }
                ),
            }),
        }
    }
}
