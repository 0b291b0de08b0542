//! The work of one model.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use smollm3_model::Sampling;

use crate::prompt::{BadRows, Prompt, Prompts};
use crate::{Answer, AnswerId, Finish, Result, SynthesisError};

/// An answer for the journal.
pub(crate) struct NewAnswer {
    pub place: AnswerId,
    /// Hash of the prompt.
    pub asked: u64,
    pub answer: Answer,
}

/// The work of one model.
pub(crate) struct Worker<'a> {
    /// The model's number.
    pub number: u8,
    /// The model's name in messages.
    pub name: &'static str,
    pub sampling: &'a Sampling,
    pub max_new_tokens: usize,
    pub prompts: &'a Prompts,
    pub samples: u32,
    /// Answers in the journal.
    pub done: &'a HashSet<AnswerId>,
    /// Set when the user stops the work, and when another model fails.
    pub halts: [&'a AtomicBool; 2],
    /// Counts new tokens, for progress.
    pub tokens: &'a AtomicU64,
    pub answers: SyncSender<NewAnswer>,
}

impl Worker<'_> {
    pub fn halted(&self) -> bool {
        self.halts.iter().any(|halt| halt.load(Ordering::Relaxed))
    }

    pub fn place(&self, prompt: &Prompt, sample: u32) -> AnswerId {
        AnswerId {
            prompt: prompt.index,
            model: self.number,
            sample,
        }
    }

    pub fn is_done(&self, prompt: &Prompt, sample: u32) -> bool {
        self.done.contains(&self.place(prompt, sample))
    }

    pub fn send(&self, prompt: &Prompt, sample: u32, answer: Answer) -> Result<()> {
        let answer = NewAnswer {
            place: self.place(prompt, sample),
            asked: prompt.hash,
            answer,
        };
        // The receiver is gone once the journal has failed.
        self.answers.send(answer).map_err(|_| SynthesisError::Interrupted)
    }

    /// A prompt that this model cannot process: recorded as an answer, or an error.
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
                    "the {}model cannot process it: {problem}; --bad-rows skip leaves such prompts out",
                    match self.name {
                        "model" => String::new(),
                        name => format!("{name} "),
                    }
                ),
            }),
        }
    }
}
