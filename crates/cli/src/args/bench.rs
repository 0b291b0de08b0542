//! `smollm3 bench …`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args as ClapArgs, Subcommand};
use smollm3_recipe::{Bytes, ContextLength};

use super::{DeviceArgs, PrecisionArg, RecipeArgs};

/// More of anything is a slip, and may not be countable.
const MOST: u64 = 1 << 20;

fn counts(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// `smollm3 bench …`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Addressing steps of a recipe, and serving windows of a token store
    Mixer(BenchMixerArgs),
    /// Tokenising JSON lines and Parquet, and where the time goes
    Tokenize(BenchTokenizeArgs),
    /// A training step of a model with random weights, and where its time goes
    Step(BenchStepArgs),
    /// Whether training the same steps twice gives the same bits on this device
    Bits(BenchStepArgs),
    /// Reading a prompt and continuing it
    Generate(BenchGenerateArgs),
}

/// `smollm3 bench mixer`.
#[derive(Debug, ClapArgs)]
pub struct BenchMixerArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// The stage; the recipe's first when left out
    #[arg(long)]
    pub stage: Option<String>,
    /// A folder of .ds files to serve windows from; 256 MB of made-up tokens when left out
    #[arg(long)]
    pub store: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `smollm3 bench tokenize`.
#[derive(Debug, ClapArgs)]
pub struct BenchTokenizeArgs {
    /// Parquet files or JSON lines to take text from
    #[arg(required = true)]
    pub inputs: Vec<String>,
    /// A tokenizer.json, or the folder that holds it
    #[arg(long)]
    pub tokenizer: PathBuf,
    /// The column or field that holds the text
    #[arg(long, default_value = "text")]
    pub column: String,
    /// How much text
    #[arg(long, default_value = "20MB")]
    pub bytes: Bytes,
    /// Rounds of each side
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
    /// Tokens of a row, e.g. 1024 or 4k
    #[arg(long, default_value = "1024")]
    pub sequence_length: ContextLength,
    /// Rows of a step
    #[arg(long, default_value_t = 4, value_parser = counts(1..=MOST))]
    pub micro_batch: usize,
    /// Documents of a row
    #[arg(long, default_value_t = 4, value_parser = counts(1..=MOST))]
    pub documents: usize,
    /// Type of the matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    /// Compute layers again on the way back instead of keeping what they computed
    #[arg(long)]
    pub recompute: bool,
    /// Steps that are timed, or trained twice
    #[arg(long, default_value_t = 7, value_parser = counts(1..=MOST))]
    pub steps: usize,
    /// As run.deterministic = false: attention on CUDA may sum in any order
    #[arg(long)]
    pub not_deterministic: bool,
    /// Also show a step operation by operation (LibTorch; on CUDA its kernels)
    #[arg(long)]
    pub profile: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `smollm3 bench generate`.
#[derive(Debug, ClapArgs)]
pub struct BenchGenerateArgs {
    /// Folder of a checkpoint, a model on the Hub, or a file of configs/ for random weights
    pub model: PathBuf,
    /// Tokens of a prompt, e.g. 512 or 32k
    #[arg(long, default_value = "512")]
    pub prompt: ContextLength,
    /// Tokens it is continued by
    #[arg(long, default_value_t = 64, value_parser = counts(0..=MOST))]
    pub new: usize,
    /// Rows that are continued at once
    #[arg(long, default_value_t = 1, value_parser = counts(1..=MOST))]
    pub rows: usize,
    /// Rounds that are timed, after one that is not; 0 times the only one
    #[arg(long, default_value_t = 3, value_parser = counts(0..=MOST))]
    pub rounds: usize,
    /// Type of the weights and matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}
