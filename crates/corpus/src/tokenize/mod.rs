//! Documents to token stores, on all cores, the same bytes for any number of threads.
//!
//! Two ways in, one layout out:
//! * [`tokenize()`] takes numbered documents ([`crate::text::DocumentSource`]), shuffled, in one go;
//! * [`tokenize_files`] takes files of rows of any size, in their order, and can be killed and resumed.
//!
//! ```text
//! folder/train/*.ds      the training part, one store
//! folder/held-out/*.ds   what is kept out of training (when something is)
//! folder/report.json     written last: what the stores hold and what they were made from
//! ```
//!
//! Several machines can share the files of a source: each takes its part ([`Worker`]) into a folder of its own, and
//! [`merge_stores`] makes of these what one machine would have made.
//!
//! A document is held out by the hash of its own text: the same one in every run, and copies of a text
//! never sit on both sides. Where `report.json` tells of the same inputs, nothing is done again.

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

/// Enters the fingerprint of the inputs; raised when the same settings would give other bytes.
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
    Err(CorpusError::Argument {
        name: "held_out",
        problem: format!("must lie in [0, 1), got {held_out}"),
    })
}
