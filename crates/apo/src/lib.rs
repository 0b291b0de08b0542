//! Training on pairs of answers, of which one is preferred.
//!
//! ```text
//! rows ── PairEncoder ── two documents a pair ── PairRows: pairs packed into rows ── Preferred ── the engine's loop
//!                                                     ▲
//!                     the reference's log-probabilities, computed once
//! ```
//!
//! Prompt and answer of each side are one document, and many share a row without padding; the attention keeps them apart.
//! [`pair_loss`] is the formula, [`Preferred`] brings it to the engine, [`prefer`] runs a stage. The loop, its checkpoints and its
//! guards are the engine's.

mod encoder;
mod held_out;
mod loss;
mod objective;
mod pair_rows;
mod reference;
mod reference_model;
mod stage;

pub use encoder::{Cut, PairEncoder, PairLimits};
pub use loss::{PairLoss, pair_loss};
pub use objective::{PairBatch, Preferred, ReferenceSource, answer_log_probs};
pub use pair_rows::{PairRow, PairRows, PairSpan, pack_pairs};
pub use reference::ReferenceLogProbs;
pub use stage::{prefer, prepared_data};
