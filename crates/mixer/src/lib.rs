//! The order of data as a pure function of recipe and step.
//!
//! ```text
//! weights of a phase ── blend (interleave | greedy) ── source, ordinal ─┐
//! ordinal ── epoch ── permutation ── window of the source ──────────────┴─ batch ── slice of a rank
//! token store ── window ── inputs, targets, document starts
//! ```
//!
//! * [`interleave`]: the source of any pick at once, within one sequence of each share.
//! * [`greedy`]: the original's order, by replay.
//! * [`permutation`]: the windows of a source, in another order each epoch.
//! * [`mixer`]: the batch of a step, phases, epochs; [`slice`](mod@slice): each rank's part of it.
//! * [`windows`]: reads a window from a token store; [`source_reader`]: on disk or streamed.
//! * [`mod@bench`]: timings of the above.
//!
//! ```
//! use smollm3_mixer::{Mixer, MixerConfig, Order, PhaseWeights, SourceInfo, WindowOrder, Windows};
//!
//! let source = |name: &str, windows: u64| SourceInfo { name: name.into(), windows: Some(Windows::Whole(windows)), max_epochs: 4.0 };
//! let mixer = Mixer::new(MixerConfig {
//!     seed: 6,
//!     order: Order::Even,
//!     windows: WindowOrder::Permuted,
//!     sequence_length: 4096,
//!     global_batch: 20,
//!     phases: vec![
//!         PhaseWeights { sequences: 2000, weights: vec![(0, 85.0), (1, 12.0), (2, 3.0)] },
//!         PhaseWeights { sequences: 1000, weights: vec![(0, 63.0), (1, 24.0), (2, 13.0)] },
//!     ],
//!     sources: vec![source("web", 2500), source("code", 400), source("math", 50)],
//! })?;
//! assert_eq!(mixer.steps(), 150);
//! assert_eq!(mixer.counts_before_phase(1), [1700, 240, 60]);
//! let batch = mixer.batch(101)?;
//! assert_eq!(batch.len(), 20);
//! // Two ranks with micro-batches of 5: two accumulation steps each.
//! assert_eq!(mixer.slice(101, 0, 2, 5)?, [&batch[..5], &batch[10..15]]);
//! # Ok::<(), smollm3_mixer::MixError>(())
//! ```

pub mod bench;
pub mod blend;
pub mod config;
mod epoch;
pub mod error;
mod fraction;
pub mod greedy;
pub mod interleave;
pub mod mixer;
pub mod permutation;
pub mod slice;
pub mod source_reader;
pub mod windows;

pub use blend::{Blend, Order};
pub use config::{MixerConfig, PhaseWeights, Pick, SourceInfo, SourceWindow, WindowOrder, Windows};
pub use error::{MixError, Result};
pub use greedy::Greedy;
pub use interleave::Interleave;
pub use mixer::Mixer;
pub use permutation::Permutation;
pub use slice::{check_split, slice_batch};
pub use source_reader::{SourceReader, StreamedReader};
pub use windows::{Documents, Sequence, WindowError, WindowReader};
