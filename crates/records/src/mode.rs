//! How a model is prompted, and how often it is right in each mode.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a model is prompted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Text to be continued, without a template.
    Plain,
    /// A conversation, the answer at once.
    NoThink,
    /// A conversation, the answer after thinking.
    Think,
}

impl Mode {
    /// That of a conversation.
    pub fn of(think: bool) -> Self {
        if think { Self::Think } else { Self::NoThink }
    }
}

impl fmt::Display for Mode {
    /// As tables call it; of a conversation, the word that switches it on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain text",
            Self::NoThink => "/no_think",
            Self::Think => "/think",
        })
    }
}

/// How often the right answer was given, or preferred, in one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeScore {
    /// Whether thinking was asked for.
    pub think: bool,
    /// Questions.
    pub items: u32,
    /// The fraction that was right, 0 to 1.
    pub score: f64,
    /// Standard error of it.
    pub standard_error: f64,
}

impl ModeScore {
    /// `right` of `items` questions were answered right.
    pub fn new(think: bool, items: u32, right: u32) -> Self {
        let count = f64::from(items.max(1));
        let score = f64::from(right) / count;
        Self {
            think,
            items,
            score,
            standard_error: (score * (1.0 - score) / count).sqrt(),
        }
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        Mode::of(self.think)
    }
}
