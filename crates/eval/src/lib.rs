//! What a checkpoint can do.
//!
//! [`Probe`] makes long-context tasks, [`probe_scores`] lets a model do them, [`loss_by_position`] tells whether a
//! longer context makes the next token easier. [`Evaluation`] is what was found about one checkpoint, as a file and as
//! a table.

mod error;
mod evaluation;
mod exact_match;
mod long_context;
mod position;
mod preference;
mod probe;

pub use error::{EvalError, Result};
pub use evaluation::{Evaluation, TextLoss, evaluate_stage, read_evaluation};
pub use exact_match::{ExactScore, exact_match};
pub use long_context::{ProbeScore, probe_scores, table};
pub use position::{PositionLoss, loss_by_position};
pub use preference::{PreferenceScore, preference};
pub use probe::{Probe, Task};
