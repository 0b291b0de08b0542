//! `smollm3 init`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use smollm3_recipe::Bytes;

/// `smollm3 init`.
#[derive(Debug, ClapArgs)]
pub struct InitArgs {
    /// What the recipe is for
    #[arg(value_enum)]
    pub kind: InitKind,
    /// The data to read: files, folders or globs of JSON (lines or a list) or Parquet; may be given several times
    #[arg(long, value_name = "PATH")]
    pub data: Vec<String>,
    /// The folder to write the recipe to; named after what it is for when left out
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// The checkpoint to start from: a folder, or a model on the Hub (owner/name). Merge takes several
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: Vec<String>,
    /// Memory of the device that fine-tuning is fitted to, e.g. 24GB; that of this machine when left out and the device is the CPU
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<Bytes>,
    /// What computes: flex, tch or wgpu; the fastest that this program has when left out
    #[arg(long)]
    pub backend: Option<String>,
    /// Device of the backend, e.g. cuda; the first GPU of LibTorch, where there is one, when left out
    #[arg(long)]
    pub device: Option<String>,
}

/// What a recipe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitKind {
    /// Teach a checkpoint conversations, and preferences where there are pairs of answers
    FineTune,
    /// Train a small model on text from the beginning, or a checkpoint further
    Pretrain,
    /// Compare variations of a small pretraining recipe over seeds
    Ablation,
    /// Average checkpoints
    Merge,
}

impl InitKind {
    /// Its name, as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::FineTune => "fine-tune",
            Self::Pretrain => "pretrain",
            Self::Ablation => "ablation",
            Self::Merge => "merge",
        }
    }
}
