//! Linear merging: the weighted mean of checkpoints that share an architecture.
//!
//! ```text
//! parents ── agreement (architecture, vocabulary) ─┐
//! weights ── coefficients (f32) ───────────────────┤
//!                                                  ├─ layout ── chunks ── arithmetic ── model-0000N-of-0000M.safetensors
//! files ─────────────────────────── fingerprint ───┘                                    config, tokenizer, README.md, merge.json
//! ```
//!
//! * [`merge()`]: the whole of it, from folders to a folder.
//! * [`arithmetic`]: what is computed for one element, to the bit.
//! * [`merge_stage`]: the same as a stage of a run.
//! * [`mergekit`]: the same job out of a mergekit configuration.
//!
//! Cost: every parent is read twice, to merge and to hash, the second time out of the system's cache; the result is
//! written once, and on the disk when [`merge()`] returns. Memory is a few windows of half a megabyte for each thread,
//! whatever the models' size.
//!
//! Rejected: mapping whole parents, whose pages count as the process's own, gigabytes of them; reading into buffers,
//! which copies everything once more and took a third longer.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::path::{Path, PathBuf};
//! use smollm3_merge::{MergeSettings, merge};
//!
//! let parents = [(PathBuf::from("runs/apo"), 0.9), (PathBuf::from("runs/mid"), 0.1)];
//! let report = merge(&parents, &MergeSettings::default(), Path::new("runs/merged"), &mut |done, total| {
//!     eprintln!("{done} of {total} bytes");
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(report.parents.len(), 2);
//! # Ok::<(), smollm3_merge::MergeError>(())
//! ```

mod agreement;
pub mod arithmetic;
mod coefficients;
mod companions;
mod error;
mod fingerprint;
mod layout;
pub mod merge;
pub mod mergekit;
mod parent;
mod positioned;
pub mod report;
mod settings;
mod stage;

pub use error::{MergeError, Result};
pub use merge::merge;
pub use report::{HashedFile, MergeReport, MergedParent};
pub use settings::{MergeSettings, TokenizerFrom};
pub use stage::merge_stage;
