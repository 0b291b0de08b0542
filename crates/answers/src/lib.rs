//! Extracts the answer from a written solution and compares it with the right one.
//!
//! ```text
//! text ── extract ── normalise ── equal strings are equal answers
//! ```
//!
//! Used both for evaluation (`eval`) and for filtering training data (`synthesis`).

mod choice;
mod extract;
mod normal;
mod right;

pub use extract::{Extracted, extract, extract_number};
pub use normal::normalise;
pub use right::is_right;
