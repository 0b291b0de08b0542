//! What can be typed.

mod bench;
mod checkpoint;
mod data;
mod eval;
mod init;
mod model;
mod rows;
mod run;
mod sweep;
mod synthesis;
mod text;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub use bench::{BenchCommand, BenchGenerateArgs, BenchMixerArgs, BenchStepArgs, BenchTokenizeArgs};
pub use checkpoint::{AddChatTokensArgs, CardArgs, ExportArgs, MergeArgs, TokenizerCommand, UploadArgs};
pub use data::{DataCommand, ExplainArgs, FetchArgs, MergeStoresArgs, OrderArgs, PrepareArgs, TokenizeArgs};
pub use eval::{EvalArgs, Kind as EvalKind};
pub use init::{InitArgs, InitKind};
pub use model::CheckpointArg;
pub use rows::{BadRows, CacheArgs};
pub use run::{PlanArgs, ReportArgs, RunArgs, StatusArgs};
pub use sweep::SweepArgs;
pub use synthesis::{AnswerArgs, KeepArg, PairsArgs, ResponsesArgs};
pub use text::{ChatArgs, GenerateArgs, SamplingArgs, ServeArgs};

/// Reruns the SmolLM3 training recipe from TOML files.
#[derive(Debug, Parser)]
#[command(name = "smollm3", version, about, max_term_width = 100)]
pub struct Args {
    /// How log lines look; `json` also tells every step, in the place of progress bars
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at data, and write a short recipe for it
    Init(InitArgs),
    /// Run a recipe's stages, going on where an earlier run stopped
    Run(RunArgs),
    /// Show what a recipe will do, without data or device
    Plan(PlanArgs),
    /// Run variations of a recipe over seeds, and compare them
    Sweep(SweepArgs),
    /// Say where a run is, when it ends, its checkpoints and incidents
    Status(StatusArgs),
    /// Draw a run, or several side by side, as one HTML page
    Report(ReportArgs),
    /// Continue a prompt with a checkpoint
    Generate(GenerateArgs),
    /// Talk with a checkpoint
    Chat(ChatArgs),
    /// Answer programs that speak OpenAI's HTTP interface
    Serve(ServeArgs),
    /// Change a checkpoint's tokenizer
    #[command(subcommand)]
    Tokenizer(TokenizerCommand),
    /// Write the weighted mean of checkpoints
    Merge(MergeArgs),
    /// Write a checkpoint in another dtype, or for a longer context by YaRN
    Export(ExportArgs),
    /// Upload a checkpoint to the Hugging Face Hub, with a model card
    Upload(UploadArgs),
    /// Print the model card of a checkpoint
    Card(CardArgs),
    /// Measure what a checkpoint can do
    Eval(Box<EvalArgs>),
    /// Prepare data, and look at the order it is read in
    #[command(subcommand)]
    Data(DataCommand),
    /// Time the hot paths on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// Type of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// Single precision
    F32,
    /// bfloat16
    Bf16,
}

/// A recipe with changes.
#[derive(Debug, ClapArgs)]
pub struct RecipeArgs {
    /// The recipe's folder (or its recipe.toml)
    pub recipe: PathBuf,
    /// Change a setting, e.g. --set run.seed=3 or --set stage.pretrain.optimizer.learning_rate=1e-3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// What computes.
#[derive(Debug, ClapArgs)]
pub struct DeviceArgs {
    /// flex (pure Rust, CPU), tch (LibTorch; on a GPU never run so far) or wgpu (any GPU, f32; tested on Vulkan in software)
    #[arg(long)]
    pub backend: Option<String>,
    /// Device of the backend: of tch cpu, cuda:1 or mps; of wgpu discrete:1, integrated or cpu
    #[arg(long)]
    pub device: Option<String>,
}
