//! The settings of a merge.

use std::path::PathBuf;

use smollm3_model::hf::FileDtype;

/// Choices of a merge; the default suits checkpoints of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeSettings {
    /// Divide by the sum of the weights.
    pub normalise: bool,
    /// Format of the result; `None` gives each tensor that of the first parent (`f32` for F64).
    pub dtype: Option<FileDtype>,
    /// Round the parents to this format before they are added. mergekit does so with its `dtype`; it changes nothing
    /// for parents that are in this format already, and loses accuracy for others.
    pub parents_as: Option<FileDtype>,
    /// Where tokenizer, chat template and configuration come from.
    pub tokenizer_from: TokenizerFrom,
    /// Largest file of weights in bytes, transformers' 5 GB by default.
    pub shard_bytes: u64,
}

impl Default for MergeSettings {
    fn default() -> Self {
        Self {
            normalise: true,
            dtype: None,
            parents_as: None,
            tokenizer_from: TokenizerFrom::default(),
            shard_bytes: 5_000_000_000,
        }
    }
}

/// Which folder gives the result its tokenizer, chat template, `config.json` and `generation_config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenizerFrom {
    /// The parent with the largest weight, the first of several: the one that the result resembles most.
    #[default]
    LargestWeight,
    /// The parent of this number, from 0.
    Parent(usize),
    /// A folder that need not be a parent. If it is none, configurations come from the parent with the largest weight.
    Folder(PathBuf),
}
