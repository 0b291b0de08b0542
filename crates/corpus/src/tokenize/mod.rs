//! Documents to token stores, on all cores, the same bytes for any number of threads.
//!
//! Two kinds of input, one layout of output:
//! * [`tokenize()`] takes numbered documents ([`crate::text::DocumentSource`]) and shuffles them;
//! * [`tokenize_files`] takes files of rows of any size, in order, and can be killed and resumed.
//!
//! ```text
//! folder/train/*.ds      the training part, one store
//! folder/held-out/*.ds   the held-out part, if any
//! folder/report.json     written last: what the stores hold, and the fingerprint of the inputs
//! ```
//!
//! Several machines can share the files of a source: each tokenises its part ([`Worker`]) into its own folder, and
//! [`merge_stores`] merges them into what one machine would have written.
//!
//! A document is held out by the hash of its text: the choice is the same in every run, and copies of a text never fall on
//! both sides. If `report.json` has the same inputs, nothing is repeated.

mod documents;
mod files;
mod job;
mod merge;
mod pieces;
mod report;
mod worker;

use crate::error::{CorpusError, Result};

pub use documents::{TokenizeOptions, TokenizeProgress, tokenize};
pub use files::{BadRows, FilesOptions, FilesProgress, tokenize_files};
pub use merge::merge_stores;
pub use report::{PartReport, Skipped, TokenizeReport, held_out_folder, report, train_folder};
pub use worker::Worker;

/// Part of the fingerprint of the inputs; raised when the same settings would give other bytes.
const FORMAT: u32 = 2;

/// Whether a text is kept out of training: its hash, as a number in `[0, 1)`, lies below `share`.
pub fn is_held_out(text: &str, share: f64) -> bool {
    let hash = blake3::hash(text.as_bytes());
    let head = u32::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 4]));
    f64::from(head) < share * 2f64.powi(32)
}

fn check_share(held_out: f64) -> Result<()> {
    if (0.0..1.0).contains(&held_out) {
        return Ok(());
    }
    Err(CorpusError::argument(
        "held_out",
        format!("must lie in [0, 1), got {held_out}"),
    ))
}
