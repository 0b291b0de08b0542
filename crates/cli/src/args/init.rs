//! `smollm3 init`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use smollm3_recipe::Bytes;

/// `smollm3 init`.
#[derive(Debug, ClapArgs)]
pub struct InitArgs {
    /// Purpose of the recipe
    #[arg(value_enum)]
    pub kind: InitKind,
    /// Data: files, folders or globs of JSON (lines or a list) or Parquet; repeatable
    #[arg(long, value_name = "PATH")]
    pub data: Vec<String>,
    /// Output folder [default: named after the purpose]
    #[arg(long, short, visible_alias = "out", value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Checkpoint to start from: a folder, or a model on the Hub (owner/name); several for a merge
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: Vec<String>,
    /// Memory of the device to fit fine-tuning to, e.g. 24GB [default on the CPU: that of this machine]
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<Bytes>,
    /// Backend: flex, tch or wgpu [default: the fastest compiled in]
    #[arg(long)]
    pub backend: Option<String>,
    /// Device of the backend, e.g. cuda [default: the first GPU of LibTorch, if any]
    #[arg(long)]
    pub device: Option<String>,
}

/// Purpose of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitKind {
    /// Fine-tune a checkpoint on conversations, and on preferences if there are pairs of answers
    FineTune,
    /// Train a small model on text from scratch, or continue from a checkpoint
    Pretrain,
    /// Compare variations of a small pretraining recipe over seeds
    Ablation,
    /// Average checkpoints
    Merge,
}

impl InitKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::FineTune => "fine-tune",
            Self::Pretrain => "pretrain",
            Self::Ablation => "ablation",
            Self::Merge => "merge",
        }
    }
}
