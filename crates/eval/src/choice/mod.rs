//! Multiple choice by log-likelihood.
//!
//! ```text
//! row ── ChoiceTask::item ── Item ── Prompts ── Request ── log-likelihoods ── ChoiceRecord ── ChoiceScore
//! ```
//!
//! [`task`](ChoiceTask) knows the columns and the wording of the public sets; [`Prompts`] puts items, examples and form
//! together; [`choose`] scores them.

mod item;
mod prompt;
mod score;
mod task;

pub use item::Item;
pub use prompt::{Prompts, Question};
pub use score::{ChoiceRecord, ChoiceScore, Choices, ScoredChoice, choice_score, choose};
pub use task::{ChoiceTask, Form};
