//! Inputs and outputs of the mixer: plain data, no recipe types.

use std::sync::Arc;

use crate::blend::Order;

/// Everything the order of a stage depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct MixerConfig {
    /// Seed of the permutations of windows. The blend itself has no randomness.
    pub seed: u64,
    /// How sources take turns.
    pub order: Order,
    /// The order of the windows of a source.
    pub windows: WindowOrder,
    /// Targets per sequence; only used in messages.
    pub sequence_length: u64,
    /// Sequences in a step, over all ranks and accumulation steps.
    pub global_batch: u64,
    /// The phases in order.
    pub phases: Vec<PhaseWeights>,
    /// The sources that phases refer to by position.
    pub sources: Vec<SourceInfo>,
}

/// One phase: its length and its mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseWeights {
    /// Length in sequences.
    pub sequences: u64,
    /// (source index, weight) on any scale; a weight of 0 leaves the source out.
    pub weights: Vec<(usize, f64)>,
}

/// One source of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// Name, unique in the stage; it also seeds the source's permutations.
    pub name: String,
    /// Whole windows in its store, if known.
    pub windows: Option<Windows>,
    /// Maximum number of epochs; fractions count.
    pub max_epochs: f64,
}

/// The windows of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Windows {
    /// All accessible at once: an epoch is one permutation of them.
    Whole(u64),
    /// Their number in each file of a store that is fetched file by file. An epoch permutes the files, and the windows within
    /// each, so that each file is fetched once per epoch.
    Files(Arc<[u64]>),
}

impl Windows {
    /// Their total number.
    pub fn count(&self) -> u64 {
        match self {
            Self::Whole(windows) => *windows,
            Self::Files(files) => files.iter().sum(),
        }
    }
}

impl From<u64> for Windows {
    fn from(windows: u64) -> Self {
        Self::Whole(windows)
    }
}

/// The order of the windows of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowOrder {
    /// By permutations keyed by seed, source and epoch.
    #[default]
    Permuted,
    /// As stored, as in the original, whose files are shuffled beforehand.
    Stored,
}

/// One sequence of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pick {
    /// Index into the configuration's sources.
    pub source: usize,
    /// Number of earlier sequences of this source in the stage.
    pub ordinal: u64,
    /// Its place in the source; `None` if the number of windows is unknown.
    pub place: Option<SourceWindow>,
}

/// A window of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceWindow {
    /// Earlier complete passes over the source.
    pub epoch: u64,
    /// Index of the window in the store.
    pub window: u64,
}
