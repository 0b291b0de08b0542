//! `smollm3 data responses` and `smollm3 data pairs`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use smollm3_chat::NaiveDate;
use smollm3_synthesis::{BadRows, LeftOut};

use super::choices::{BAD_ROWS, Choice, one_of};
use super::{CacheArgs, ComputeArgs};
use crate::date;

/// `smollm3 data responses`.
#[derive(Debug, ClapArgs)]
pub struct ResponsesArgs {
    /// Folder of a checkpoint, a model on the Hub (owner/name), or an OpenAI-compatible endpoint: http://localhost:8000/v1#MODEL
    pub model: String,
    /// Environment variable with the endpoint's key
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
    /// Number of answers to each prompt
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,
    #[command(flatten)]
    pub answers: AnswerArgs,
}

/// `smollm3 data pairs`.
#[derive(Debug, ClapArgs)]
pub struct PairsArgs {
    /// A single model, whose right answers are preferred to its wrong ones
    #[arg(conflicts_with_all = ["strong", "weak"], requires = "right")]
    pub model: Option<String>,
    /// Column with the right answer, to judge the answers of a single model
    #[arg(long, value_name = "COLUMN", requires = "model")]
    pub right: Option<String>,
    /// Model of the chosen answers: folder of a checkpoint, a model on the Hub, or http://localhost:8000/v1#MODEL
    #[arg(long, value_name = "MODEL", requires = "weak")]
    pub strong: Option<String>,
    /// Model of the rejected answers
    #[arg(long, value_name = "MODEL", requires = "strong")]
    pub weak: Option<String>,
    /// Environment variable with the key of the single model's endpoint
    #[arg(long, value_name = "NAME", requires = "model")]
    pub key_env: Option<String>,
    /// Environment variable with the key of the strong model's endpoint
    #[arg(long, value_name = "NAME", requires = "strong")]
    pub strong_key_env: Option<String>,
    /// Environment variable with the key of the weak model's endpoint
    #[arg(long, value_name = "NAME", requires = "weak")]
    pub weak_key_env: Option<String>,
    /// Sampling temperature of the weak model, if different
    #[arg(long, requires = "weak")]
    pub weak_temperature: Option<f64>,
    /// Number of answers of each model to each prompt [default: 1 of two models, 4 of one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    #[command(flatten)]
    pub answers: AnswerArgs,
}

/// How answers are generated.
#[derive(Debug, ClapArgs)]
pub struct AnswerArgs {
    /// Files, folders, globs or addresses of prompts: rows with `prompt`, `question` or `messages`, whose last answer is ignored;
    /// repeatable
    #[arg(long, required = true, value_name = "FILE")]
    pub prompts: Vec<String>,
    /// Output file, .jsonl; all answers are kept in a file next to it, from which the same command resumes
    #[arg(long, short, visible_alias = "output")]
    pub out: PathBuf,
    /// Maximum number of prompts; can be raised later
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Ask for thinking (`enable_thinking`) [default: as each prompt says]
    #[arg(long, conflicts_with = "no_think")]
    pub think: bool,
    /// Ask for no thinking
    #[arg(long)]
    pub no_think: bool,
    /// System message for prompts without one; becomes part of the rows
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Maximum number of new tokens of an answer, including its thought
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// Sampling temperature; 0 takes the most probable token
    #[arg(long, default_value_t = 0.6)]
    pub temperature: f64,
    /// Sample from this many of the most probable tokens (0: all)
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Sample from the most probable tokens with this total probability
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f64,
    /// Sample from tokens with at least this fraction of the largest probability
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f64,
    /// Divide the scores of tokens that occurred before by this
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// Random seed; the same seed gives the same answers, also of endpoints that support it
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Keep rows that are left out by default
    #[arg(long, value_parser = one_of(KEEP), value_delimiter = ',')]
    pub keep: Vec<LeftOut>,
    /// Rows without a prompt, and prompts that a model refuses
    #[arg(long, value_parser = one_of(BAD_ROWS), default_value = "stop")]
    pub bad_rows: BadRows,
    /// Maximum number of concurrent requests to an endpoint
    #[arg(long, default_value_t = 32)]
    pub concurrency: usize,
    /// Timeout of an endpoint for one answer, in seconds
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Give up an endpoint after this many failed attempts in a row
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: u32,
    /// Number of answers that a checkpoint generates at once
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Current date for a checkpoint's template, YYYY-MM-DD [default: today]
    #[arg(long, value_parser = date::parse)]
    pub date: Option<NaiveDate>,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Reasons to leave rows out that can be overridden.
const KEEP: &[Choice<LeftOut>] = &[
    ("cut-off", LeftOut::CutOff, "Answers that were cut off"),
    ("empty", LeftOut::Empty, "Answers without text after the thought"),
    ("equal", LeftOut::Equal, "Pairs of equal answers"),
];

/// Options that only endpoints have.
pub const OF_ENDPOINTS: &[&str] = &["--concurrency", "--timeout", "--attempts"];
/// Options that only checkpoints have.
pub const OF_CHECKPOINTS: &[&str] = &["--batch", "--precision", "--date", "--backend", "--device"];
