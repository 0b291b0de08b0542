//! Problems whose answer is written by the model: a solution is generated, and the answer taken out of it.
//!
//! ```text
//! row ── Problem ── Asking ── prompt ── generate ── extract ── normalise ── ProblemRecord ── ProblemScore
//! ```

mod problem;
mod score;
mod solve;

pub use problem::{Problem, ProblemTask};
pub use score::{Majority, ProblemRecord, ProblemScore, Solution, problem_score};
pub use solve::{Asking, INSTRUCTION, solve};
