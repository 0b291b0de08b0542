//! What can be typed.

mod eval;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use smollm3_model::hf::FileDtype;
use smollm3_recipe::{Bytes, ContextLength, Percent};

pub use eval::{EvalArgs, Kind as EvalKind};

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
    /// Run a recipe's stages, going on where an earlier run stopped
    Run(RunArgs),
    /// Show what a recipe will do, without data or device
    Plan(PlanArgs),
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
    /// Measure what a checkpoint can do
    Eval(Box<EvalArgs>),
    /// Prepare data, and look at the order it is read in
    #[command(subcommand)]
    Data(DataCommand),
    /// Time the hot paths on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// `smollm3 data …`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Turn Parquet or JSON lines into a token store, going on where an earlier call stopped
    Tokenize(TokenizeArgs),
    /// Bring remote files to local disk
    Fetch(FetchArgs),
    /// Do what `run` does before its first step: the tokenizer and the token stores of a recipe
    Prepare(PrepareArgs),
    /// Show which window of which source each sequence of a step is
    Order(OrderArgs),
    /// Show a row of conversations token by token: its text, whose it is, whether it is learned
    Explain(ExplainArgs),
    /// Have a model answer prompts: conversations to fine-tune on, thoughts included
    Responses(Box<ResponsesArgs>),
    /// Have models answer prompts twice: pairs of a chosen and a rejected answer to prefer by
    Pairs(Box<PairsArgs>),
}

/// `smollm3 data responses`.
#[derive(Debug, ClapArgs)]
pub struct ResponsesArgs {
    /// Folder of a checkpoint, or an OpenAI-compatible endpoint: http://localhost:8000/v1#MODEL
    pub model: String,
    /// Environment variable with the endpoint's key; none is sent when left out
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
    /// Answers to each prompt
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,
    #[command(flatten)]
    pub answers: AnswerArgs,
}

/// `smollm3 data pairs`.
#[derive(Debug, ClapArgs)]
pub struct PairsArgs {
    /// The one model: its right answers are chosen over its wrong ones
    #[arg(conflicts_with_all = ["strong", "weak"], requires = "right")]
    pub model: Option<String>,
    /// Column with the right answer, by which one model's answers are told apart
    #[arg(long, value_name = "COLUMN", requires = "model")]
    pub right: Option<String>,
    /// The model whose answers are chosen: a checkpoint's folder or http://localhost:8000/v1#MODEL
    #[arg(long, value_name = "MODEL", requires = "weak")]
    pub strong: Option<String>,
    /// The model whose answers are rejected
    #[arg(long, value_name = "MODEL", requires = "strong")]
    pub weak: Option<String>,
    /// Environment variable with the key of the one model's endpoint; none is sent when left out
    #[arg(long, value_name = "NAME", requires = "model")]
    pub key_env: Option<String>,
    /// The same for the strong model
    #[arg(long, value_name = "NAME", requires = "strong")]
    pub strong_key_env: Option<String>,
    /// The same for the weak model
    #[arg(long, value_name = "NAME", requires = "weak")]
    pub weak_key_env: Option<String>,
    /// Temperature of the weak model, where it is another
    #[arg(long, requires = "weak")]
    pub weak_temperature: Option<f64>,
    /// Answers of each model to each prompt; when left out 1 of two models, 4 of one
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    #[command(flatten)]
    pub answers: AnswerArgs,
}

/// How prompts are answered.
#[derive(Debug, ClapArgs)]
pub struct AnswerArgs {
    /// Files of prompts: rows with `prompt`, `question` or `messages`, whose last answer is left out; may be given
    /// several times, as files, folders, globs or addresses
    #[arg(long, required = true, value_name = "FILE")]
    pub prompts: Vec<String>,
    /// The file to write, .jsonl; every answer is kept in a file beside it, from which the same command goes on
    #[arg(long)]
    pub out: PathBuf,
    /// Only so many prompts; more can follow later
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Ask for thoughts (`enable_thinking`); the prompts' own wish when left out
    #[arg(long, conflicts_with = "no_think")]
    pub think: bool,
    /// Ask for none
    #[arg(long)]
    pub no_think: bool,
    /// What the model is told where a prompt has no system message; becomes part of the rows
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Stop an answer, with its thought, after so many tokens
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// 0 takes the most probable token, 1 leaves probabilities as they are
    #[arg(long, default_value_t = 0.6)]
    pub temperature: f64,
    /// Consider so many of the most probable tokens (0: all)
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Consider the most probable tokens that make up this part
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f64,
    /// Consider tokens with at least this part of the largest probability
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f64,
    /// Divide the scores of tokens that are there already by this
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// The same seed gives the same answers, of checkpoints and of endpoints that heed it
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Write these too, which are left out otherwise
    #[arg(long, value_enum, value_delimiter = ',')]
    pub keep: Vec<KeepArg>,
    /// What becomes of rows without a prompt, and of prompts that a model refuses
    #[arg(long, value_enum, default_value_t = BadRows::Stop)]
    pub bad_rows: BadRows,
    /// Requests to an endpoint at once
    #[arg(long, default_value_t = 32)]
    pub concurrency: usize,
    /// Seconds that an endpoint may take for one answer
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Attempts in a row before an endpoint is given up
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: u32,
    /// Answers that a checkpoint writes at once
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Type of a checkpoint's weights and matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    /// The date that a checkpoint's template may tell, YYYY-MM-DD; today when left out
    #[arg(long)]
    pub date: Option<String>,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What is left out of rows unless it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeepArg {
    /// Answers that were cut off
    CutOff,
    /// Answers with nothing after the thought
    Empty,
    /// Pairs of the same answer
    Equal,
}

/// `smollm3 data tokenize`.
#[derive(Debug, ClapArgs)]
pub struct TokenizeArgs {
    /// Files, folders, globs, or addresses: s3://, gs://, http(s)://, hf://datasets/owner/name/…
    #[arg(required = true)]
    pub inputs: Vec<String>,
    /// A tokenizer.json, or the folder that holds it
    #[arg(long)]
    pub tokenizer: PathBuf,
    /// The folder to write: train/, held-out/ and report.json
    #[arg(long)]
    pub out: PathBuf,
    /// What messages and the report call the source; the name of the output folder when left out
    #[arg(long)]
    pub name: Option<String>,
    /// The column or field that holds the text
    #[arg(long, default_value = "text")]
    pub column: String,
    /// Part of the documents to keep out of training, chosen by a hash of their text
    #[arg(long, default_value = "0%")]
    pub held_out: Percent,
    /// What becomes of rows without usable text
    #[arg(long, value_enum, default_value_t = BadRows::Stop)]
    pub bad_rows: BadRows,
    /// Threads; all cores when left out. The output does not depend on it
    #[arg(long)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// What becomes of rows without usable text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BadRows {
    /// The first one ends the work, naming its file and line
    Stop,
    /// They are left out and counted
    Skip,
}

/// Where remote files lie while they are read.
#[derive(Debug, ClapArgs)]
pub struct CacheArgs {
    /// Folder for remote files while they are read; beside the output when left out
    #[arg(long)]
    pub cache: Option<PathBuf>,
    /// Bytes they may take there
    #[arg(long, default_value = "50GB")]
    pub cache_size: Bytes,
}

/// `smollm3 data fetch`.
#[derive(Debug, ClapArgs)]
pub struct FetchArgs {
    /// Addresses: s3://, gs://, http(s)://, hf://datasets/owner/name/…; folders and globs too
    #[arg(required = true)]
    pub addresses: Vec<String>,
    /// The folder to write
    #[arg(long)]
    pub to: PathBuf,
}

/// `smollm3 data prepare`.
#[derive(Debug, ClapArgs)]
pub struct PrepareArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
}

/// `smollm3 data order`.
#[derive(Debug, ClapArgs)]
pub struct OrderArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// The step, from 1
    #[arg(long)]
    pub step: u64,
    /// How many steps
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// The stage; the recipe's first when left out
    #[arg(long)]
    pub stage: Option<String>,
    /// Only what this rank takes
    #[arg(long, requires = "world")]
    pub rank: Option<u64>,
    /// Number of ranks
    #[arg(long, requires = "rank")]
    pub world: Option<u64>,
    /// Print one JSON object a step
    #[arg(long)]
    pub json: bool,
    /// Show the documents too; needs the data (`smollm3 data prepare`)
    #[arg(long)]
    pub text: bool,
}

/// `smollm3 data explain`.
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// The stage; the recipe's last on conversations when left out
    #[arg(long)]
    pub stage: Option<String>,
    /// Which of the stage's data; the first when left out
    #[arg(long)]
    pub data: Option<String>,
    /// The row, from 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub row: u64,
    /// Print one JSON object a token
    #[arg(long)]
    pub json: bool,
}

/// `smollm3 tokenizer …`.
#[derive(Debug, Subcommand)]
pub enum TokenizerCommand {
    /// Write a checkpoint with the tokens that mark turns and thinking, its embedding enlarged for them
    AddChatTokens(AddChatTokensArgs),
}

/// `smollm3 tokenizer add-chat-tokens`.
#[derive(Debug, ClapArgs)]
pub struct AddChatTokensArgs {
    /// Folder of the checkpoint
    pub checkpoint: PathBuf,
    /// The folder to write, which must not exist
    #[arg(long)]
    pub out: PathBuf,
}

/// `smollm3 chat`.
#[derive(Debug, ClapArgs)]
pub struct ChatArgs {
    /// Folder of the checkpoint
    pub checkpoint: PathBuf,
    /// What the model is told before the first message
    #[arg(long)]
    pub system: Option<String>,
    /// Begin in /no_think mode
    #[arg(long)]
    pub no_think: bool,
    /// A JSON file with a list of functions that the model may call
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
    /// The date that the template may tell, YYYY-MM-DD; today when left out
    #[arg(long)]
    pub date: Option<String>,
    /// Stop an answer after so many tokens
    #[arg(long, default_value_t = 1024)]
    pub max_new_tokens: usize,
    /// Type of the weights and matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `smollm3 serve`.
#[derive(Debug, ClapArgs)]
pub struct ServeArgs {
    /// Folder of the checkpoint
    pub checkpoint: PathBuf,
    /// Address to listen on; 0.0.0.0 lets other machines in, unasked
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on (0: any that is free)
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// What requests call the model; the folder as it is typed when left out
    #[arg(long)]
    pub name: Option<String>,
    /// Requests at once, those that wait included; more are sent away
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub requests: u16,
    /// Tokens of a request that are kept at once, over all its texts, e.g. 64k
    #[arg(long, default_value = "64k")]
    pub batch_tokens: ContextLength,
    /// The date that the template may tell, YYYY-MM-DD; today when left out
    #[arg(long)]
    pub date: Option<String>,
    /// Type of the weights and matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `smollm3 bench …`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Addressing steps of a recipe, and serving windows of a token store
    Mixer(BenchMixerArgs),
    /// Tokenising JSON lines, against the tokenizers crate alone
    Tokenize(BenchTokenizeArgs),
    /// A training step of a model with random weights, and where its time goes
    Step(BenchStepArgs),
    /// Reading a prompt and continuing it
    Generate(BenchGenerateArgs),
}

/// `smollm3 bench step`.
#[derive(Debug, ClapArgs)]
pub struct BenchStepArgs {
    /// A file of configs/, or a checkpoint's config.json
    #[arg(long)]
    pub config: PathBuf,
    /// Tokens of a row, e.g. 1024 or 4k
    #[arg(long, default_value = "1024")]
    pub sequence_length: ContextLength,
    /// Rows of a step
    #[arg(long, default_value_t = 4)]
    pub micro_batch: usize,
    /// Documents of a row
    #[arg(long, default_value_t = 4)]
    pub documents: usize,
    /// Type of the matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    /// Compute layers again on the way back instead of keeping what they computed
    #[arg(long)]
    pub recompute: bool,
    /// Steps that are timed
    #[arg(long, default_value_t = 7)]
    pub steps: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `smollm3 bench generate`.
#[derive(Debug, ClapArgs)]
pub struct BenchGenerateArgs {
    /// Folder of a checkpoint, or a file of configs/ for random weights
    pub model: PathBuf,
    /// Tokens of a prompt, e.g. 512 or 32k
    #[arg(long, default_value = "512")]
    pub prompt: ContextLength,
    /// Tokens it is continued by
    #[arg(long, default_value_t = 64)]
    pub new: usize,
    /// Rows that are continued at once
    #[arg(long, default_value_t = 1)]
    pub rows: usize,
    /// Rounds that are timed, after one that is not; 0 times the only one
    #[arg(long, default_value_t = 3)]
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

/// Type of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// Single precision
    F32,
    /// bfloat16
    Bf16,
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
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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
    /// flex (pure Rust, CPU), tch (LibTorch) or cuda (CubeCL)
    #[arg(long)]
    pub backend: Option<String>,
    /// Device of the backend, e.g. cpu, cuda:1, mps
    #[arg(long)]
    pub device: Option<String>,
}

/// `smollm3 run`.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// First stage to run (those before must have their checkpoints)
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// Last stage to run
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// Serve the present state as Prometheus text on this port of 127.0.0.1 (0: any that is free)
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<u16>,
}

/// `smollm3 export`.
#[derive(Debug, ClapArgs)]
pub struct ExportArgs {
    /// Folder of the checkpoint
    pub checkpoint: PathBuf,
    /// The folder to write, which must not exist
    #[arg(long)]
    pub out: PathBuf,
    /// Stretch the context to so many tokens by YaRN, e.g. 128k
    #[arg(long)]
    pub context: Option<ContextLength>,
    /// Type of the numbers in the files
    #[arg(long, value_enum, default_value_t = DtypeArg::Bf16)]
    pub dtype: DtypeArg,
}

/// Type of the numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    /// 32 bits
    F32,
    /// 16 bits with the exponent of f32
    Bf16,
    /// 16 bits, IEEE half precision
    F16,
}

/// `smollm3 merge`.
#[derive(Debug, ClapArgs)]
pub struct MergeArgs {
    /// A checkpoint's folder and its weight; may be given several times
    #[arg(long, value_name = "FOLDER=WEIGHT", required_unless_present = "config")]
    pub model: Vec<String>,
    /// mergekit's YAML of a linear merge, in the place of --model
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub config: Option<PathBuf>,
    /// The folder to write, which must not exist
    #[arg(long)]
    pub out: PathBuf,
    /// Take the weights as they are given instead of dividing them by their sum
    #[arg(long)]
    pub as_given: bool,
    /// Type of the numbers in the files; that of the first checkpoint when left out
    #[arg(long, value_enum)]
    pub dtype: Option<DtypeArg>,
    /// The folder whose tokenizer and chat template are taken; that of the largest weight when left out
    #[arg(long, value_name = "FOLDER")]
    pub tokenizer_from: Option<PathBuf>,
}

impl From<DtypeArg> for FileDtype {
    fn from(dtype: DtypeArg) -> Self {
        match dtype {
            DtypeArg::F32 => Self::F32,
            DtypeArg::Bf16 => Self::Bf16,
            DtypeArg::F16 => Self::F16,
        }
    }
}

/// `smollm3 status`.
#[derive(Debug, ClapArgs)]
pub struct StatusArgs {
    /// The run's folder, as `run.output` names it
    pub run: PathBuf,
}

/// `smollm3 report`.
#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// Folders of runs
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// The file to write
    #[arg(long, short, default_value = "report.html")]
    pub output: PathBuf,
}

/// `smollm3 plan`.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
}

/// `smollm3 generate`.
#[derive(Debug, ClapArgs)]
pub struct GenerateArgs {
    /// Folder of the checkpoint
    pub checkpoint: PathBuf,
    /// The text to continue
    #[arg(long)]
    pub prompt: String,
    /// Stop after so many tokens
    #[arg(long, default_value_t = 128)]
    pub max_new_tokens: usize,
    /// Stop at this text, which is not shown; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Type of the weights and matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// How each token is chosen.
#[derive(Debug, ClapArgs)]
pub struct SamplingArgs {
    /// 0 takes the most probable token, 1 leaves probabilities as they are
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f64,
    /// Consider so many of the most probable tokens (0: all)
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Consider the most probable tokens that make up this part
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f64,
    /// Consider tokens with at least this part of the largest probability
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f64,
    /// Divide the scores of tokens that are there already by this
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
