//! Evaluation of checkpoints.
//!
//! * [`choose`]: multiple choice by log-likelihood ([`log_likelihoods`]), in the public sets' own columns
//!   ([`ChoiceTask`]).
//! * [`solve`]: problems whose answer is taken out of a generated solution (`smollm3_answers`).
//! * [`text_loss`]: nats a token and bits a byte on text.
//! * [`Probe`] makes long-context tasks, [`probe_scores`] scores a model on them, [`loss_by_position`] measures whether a
//!   longer context makes the next token easier.
//! * [`evaluate_stage`] evaluates the checkpoint of a stage as a recipe says.
//!
//! Results go into an [`ItemLog`], item by item, from which a stopped evaluation resumes. Figures are [`Estimate`]s, with
//! standard errors; [`report`] makes tables of them.

mod choice;
mod data_hash;
mod date;
mod error;
mod estimate;
mod evaluation;
mod exact_match;
mod item_log;
mod likelihood;
mod long_context;
mod loss;
mod position;
mod preference;
mod probe;
mod problems;
pub mod report;
mod rows;

pub use choice::{
    ChoiceRecord, ChoiceScore, ChoiceTask, Choices, Form, Item, Prompts, Question, ScoredChoice,
    choice_score, choose,
};
pub use data_hash::data_hash;
pub use error::{EvalError, Result};
pub use estimate::Estimate;
pub use evaluation::evaluate_stage;
pub use exact_match::exact_match;
pub use item_log::ItemLog;
pub use likelihood::{LogLikelihood, Request, log_likelihoods, prefix_token};
pub use long_context::{probe_scores, table};
pub use loss::{DocumentLoss, LossSettings, LossSource, SourceLoss, source_losses, text_loss};
pub use position::loss_by_position;
pub use preference::preference;
pub use probe::{Probe, Task};
pub use problems::{
    Asking, INSTRUCTION, Majority, Problem, ProblemRecord, ProblemScore, ProblemTask, Solution,
    problem_score, solve,
};
pub use rows::{DataRow, read_rows};
