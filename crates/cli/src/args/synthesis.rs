//! `smollm3 data responses` and `smollm3 data pairs`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::{BadRows, CacheArgs, DeviceArgs, PrecisionArg};

/// `smollm3 data responses`.
#[derive(Debug, ClapArgs)]
pub struct ResponsesArgs {
    /// Folder of a checkpoint, a model on the Hub (owner/name), or an OpenAI-compatible endpoint: http://localhost:8000/v1#MODEL
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
    /// The model whose answers are chosen: a checkpoint's folder, a model on the Hub, or
    /// http://localhost:8000/v1#MODEL
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
    /// Requests to an endpoint at once; 32 when left out
    #[arg(long)]
    pub concurrency: Option<usize>,
    /// Seconds that an endpoint may take for one answer; 3600 when left out
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Attempts in a row before an endpoint is given up; 8 when left out
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: Option<u32>,
    /// Answers that a checkpoint writes at once; 8 when left out
    #[arg(long)]
    pub batch: Option<usize>,
    /// Type of a checkpoint's weights and matrix products: f32 (when left out) or bf16
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArg>,
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

impl AnswerArgs {
    /// Options that only endpoints heed, and whether they are given.
    pub fn of_endpoints(&self) -> [(&'static str, bool); 3] {
        [
            ("--concurrency", self.concurrency.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--attempts", self.attempts.is_some()),
        ]
    }

    /// The same for checkpoints.
    pub fn of_checkpoints(&self) -> [(&'static str, bool); 5] {
        [
            ("--batch", self.batch.is_some()),
            ("--precision", self.precision.is_some()),
            ("--date", self.date.is_some()),
            ("--backend", self.device.backend.is_some()),
            ("--device", self.device.device.is_some()),
        ]
    }
}
