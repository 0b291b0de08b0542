//! One answer: its text with the thought before it, and how it ended.
//!
//! Thoughts come in three ways: inside the text between `<think>` and `</think>`; apart from it, from servers that split
//! them off; and inside the text without the opening tag, where the template had written that already. All become the
//! first, because that is what the templates of SmolLM3 are trained on.

use serde::{Deserialize, Serialize};
use smollm3_chat::spoken;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// What a model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The thought, if there is one, and the answer; the reason where nothing was said ([`Finish::Refused`]).
    pub text: String,
    /// How it ended.
    pub finish: Finish,
    /// Tokens that were generated, the thought's among them; 0 where the endpoint does not tell.
    pub tokens: u64,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// By the end of its turn.
    Stop,
    /// Cut off, by the number of tokens allowed or the model's context.
    Length,
    /// The model cannot be asked this, or its operator withholds the answer.
    Refused,
}

impl Answer {
    /// What stands behind the thought, without white space around it; nothing if the thought never ends.
    pub fn said(&self) -> &str {
        spoken(&self.text).unwrap_or_default().trim()
    }
}

/// A text with its thought at the beginning, in tags.
pub fn with_thought(thought: Option<&str>, text: &str) -> String {
    match thought.map(str::trim).filter(|thought| !thought.is_empty()) {
        Some(thought) => format!("{OPEN}\n{thought}\n{CLOSE}\n\n{}", text.trim_start()),
        None => match (text.find(OPEN), text.find(CLOSE)) {
            // The template opened the thought, so the model did not.
            (open, Some(close)) if open.is_none_or(|open| close < open) => {
                format!("{OPEN}\n{}", text.trim_start())
            }
            _ => text.to_owned(),
        },
    }
}
