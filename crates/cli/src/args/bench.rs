//! `smollm3 bench …`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args as ClapArgs, Subcommand};
use smollm3_recipe::{Bytes, ContextLength};

use super::{ComputeArgs, RecipeArgs};

/// A larger count is a mistake, and may overflow.
const MOST: u64 = 1 << 20;

fn counts(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// `smollm3 bench …`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Addressing the steps of a recipe, and reading windows of a token store
    Mixer(BenchMixerArgs),
    /// Tokenizing JSON lines and Parquet, by phase
    Tokenize(BenchTokenizeArgs),
    /// A training step of a model with random weights, by part
    Step(BenchStepArgs),
    /// Check that training the same steps twice gives the same bits on this device
    Bits(BenchStepArgs),
    /// Processing a prompt and continuing it
    Generate(BenchGenerateArgs),
}

/// `smollm3 bench mixer`.
#[derive(Debug, ClapArgs)]
pub struct BenchMixerArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Stage [default: the recipe's first]
    #[arg(long)]
    pub stage: Option<String>,
    /// Folder of .ds files to read windows from [default: 256 MB of random tokens]
    #[arg(long)]
    pub store: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `smollm3 bench tokenize`.
#[derive(Debug, ClapArgs)]
pub struct BenchTokenizeArgs {
    /// Parquet or JSON lines with text
    #[arg(required = true)]
    pub inputs: Vec<String>,
    /// A tokenizer.json, or its folder
    #[arg(long)]
    pub tokenizer: PathBuf,
    /// Column of the text
    #[arg(long, default_value = "text")]
    pub column: String,
    /// Amount of text
    #[arg(long, default_value = "20MB")]
    pub bytes: Bytes,
    /// Number of rounds
    #[arg(long, default_value_t = 5, value_parser = counts(0..=MOST))]
    pub rounds: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `smollm3 bench step` and `smollm3 bench bits`.
#[derive(Debug, ClapArgs)]
pub struct BenchStepArgs {
    /// A file of configs/, a checkpoint's folder or config.json, or a model on the Hub
    #[arg(long)]
    pub config: PathBuf,
    /// Sequence length in tokens, e.g. 1024 or 4k
    #[arg(long, default_value = "1024")]
    pub sequence_length: ContextLength,
    /// Rows per step
    #[arg(long, default_value_t = 4, value_parser = counts(1..=MOST))]
    pub micro_batch: usize,
    /// Documents per row
    #[arg(long, default_value_t = 4, value_parser = counts(1..=MOST))]
    pub documents: usize,
    /// Recompute activations in the backward pass instead of storing them
    #[arg(long)]
    pub recompute: bool,
    /// Number of steps to time, or to train twice
    #[arg(long, default_value_t = 7, value_parser = counts(1..=MOST))]
    pub steps: usize,
    /// As run.deterministic = false: attention on CUDA may sum in any order
    #[arg(long)]
    pub not_deterministic: bool,
    /// Also profile a step by operation (LibTorch; by kernel on CUDA)
    #[arg(long)]
    pub profile: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// `smollm3 bench generate`.
#[derive(Debug, ClapArgs)]
pub struct BenchGenerateArgs {
    /// Folder of a checkpoint, a model on the Hub, or a file of configs/ for random weights
    pub model: PathBuf,
    /// Prompt length in tokens, e.g. 512 or 32k
    #[arg(long, default_value = "512")]
    pub prompt: ContextLength,
    /// Number of new tokens
    #[arg(long, default_value_t = 64, value_parser = counts(0..=MOST))]
    pub new: usize,
    /// Batch size
    #[arg(long, default_value_t = 1, value_parser = counts(1..=MOST))]
    pub rows: usize,
    /// Number of timed rounds, after a warm-up; 0 times a single round
    #[arg(long, default_value_t = 3, value_parser = counts(0..=MOST))]
    pub rounds: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: ComputeArgs,
}
