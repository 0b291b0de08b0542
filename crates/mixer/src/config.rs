//! What the order of a stage is made from, and what it gives: plain data, no recipe types.

use std::sync::Arc;

use crate::blend::Order;

/// Everything the order of a stage depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct MixerConfig {
    /// Names the permutations of the windows. The blend itself has no randomness.
    pub seed: u64,
    /// How sources take turns.
    pub order: Order,
    /// In which order the windows of one source are read.
    pub windows: WindowOrder,
    /// Tokens a sequence is trained on; only used to speak of tokens in messages.
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
    /// Name, unique in the stage; it names the source's permutations too.
    pub name: String,
    /// Whole windows in its store, if the store is at hand.
    pub windows: Option<Windows>,
    /// How often its data may be read; fractions count.
    pub max_epochs: f64,
}

/// The windows of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Windows {
    /// All within reach: an epoch is one permutation of them.
    Whole(u64),
    /// So many in each file of a store that is fetched file by file. An epoch takes the files in a permuted
    /// order and the windows of each in another, so that every file is fetched once an epoch.
    Files(Arc<[u64]>),
}

impl Windows {
    /// How many in all.
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

/// In which order the windows of one source are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowOrder {
    /// By permutations keyed by seed, source and epoch.
    #[default]
    Permuted,
    /// As they lie in the store, as the original does, whose files are shuffled beforehand.
    Stored,
}

/// One sequence of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pick {
    /// Index into the configuration's sources.
    pub source: usize,
    /// How many sequences of this source came before, over the whole stage.
    pub ordinal: u64,
    /// Where in the source it is read; `None` while the number of windows is not known.
    pub place: Option<Place>,
}

/// A window of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Earlier complete passes over the source.
    pub epoch: u64,
    /// Index of the window in the store.
    pub window: u64,
}
