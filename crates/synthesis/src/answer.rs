//! An answer: its text after the thought, and why it ended.
//!
//! Thoughts come in three forms: in the text between `<think>` and `</think>`; separate, from servers that split them off;
//! and in the text without the opening tag, if the template has written that. All are stored in the first form, which
//! SmolLM3's templates are trained on.

use serde::{Deserialize, Serialize};
use smollm3_chat::spoken;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// An answer of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The thought, if any, and the answer; the reason if refused ([`Finish::Refused`]).
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Number of generated tokens, including the thought; 0 if the endpoint does not report it.
    pub tokens: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// The end of the turn.
    Stop,
    /// Cut off by the maximum number of tokens or the model's context.
    Length,
    /// The model cannot process the prompt, or its operator withholds the answer.
    Refused,
}

impl Answer {
    /// The text after the thought, trimmed; empty if the thought never ends.
    pub fn said(&self) -> &str {
        spoken(&self.text).unwrap_or_default().trim()
    }
}

/// The text with its thought in tags at the start.
pub fn with_thought(thought: Option<&str>, text: &str) -> String {
    match thought.map(str::trim).filter(|thought| !thought.is_empty()) {
        Some(thought) => format!("{OPEN}\n{thought}\n{CLOSE}\n\n{}", text.trim_start()),
        None => match (text.find(OPEN), text.find(CLOSE)) {
            // The template, not the model, has opened the thought.
            (open, Some(close)) if open.is_none_or(|open| close < open) => {
                format!("{OPEN}\n{}", text.trim_start())
            }
            _ => text.to_owned(),
        },
    }
}
