//! The answer in a written solution, and whether it is the right one.
//!
//! ```text
//! text ── extract ── normalise ── equal strings are equal answers
//! ```
//!
//! One judge for what is measured (`eval`) and for what is kept to train on (`synthesis`).

mod choice;
mod extract;
mod normal;
mod right;

pub use extract::{Extracted, extract, extract_number};
pub use normal::normalise;
pub use right::is_right;
