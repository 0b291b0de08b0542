//! `smollm3 generate`, `smollm3 chat`, `smollm3 serve`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use smollm3_chat::NaiveDate;
use smollm3_recipe::ContextLength;

use super::{CheckpointArg, ComputeArgs};
use crate::date;

/// `smollm3 generate`.
#[derive(Debug, ClapArgs)]
pub struct GenerateArgs {
    /// Folder of a checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// Text to continue, without a template; special tokens in it are parsed
    #[arg(long)]
    pub prompt: String,
    /// Maximum number of new tokens
    #[arg(long, default_value_t = 128)]
    pub max_new_tokens: usize,
    /// Stop at this text, which is not shown; repeatable
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// `smollm3 chat`.
#[derive(Debug, ClapArgs)]
pub struct ChatArgs {
    /// Folder of a checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// System message
    #[arg(long)]
    pub system: Option<String>,
    /// Start in /no_think mode
    #[arg(long)]
    pub no_think: bool,
    /// JSON file with a list of functions that the model may call
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
    /// Current date for the template, YYYY-MM-DD [default: today]
    #[arg(long, value_parser = date::parse)]
    pub date: Option<NaiveDate>,
    /// Maximum number of new tokens of an answer
    #[arg(long, default_value_t = 1024)]
    pub max_new_tokens: usize,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// `smollm3 serve`.
#[derive(Debug, ClapArgs)]
pub struct ServeArgs {
    /// Folder of a checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// Address to listen on; 0.0.0.0 accepts other machines, without authentication
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on (0: any free one)
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Name of the model in requests [default: the checkpoint as typed]
    #[arg(long)]
    pub name: Option<String>,
    /// Maximum number of concurrent requests, including those in the queue; more are refused
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub requests: u16,
    /// Maximum number of tokens in a batch, e.g. 64k; a request may have eight times as many
    #[arg(long, default_value = "64k")]
    pub batch_tokens: ContextLength,
    /// Maximum number of open connections
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// Host name (without port) that requests may use besides localhost; repeatable
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Current date for the template, YYYY-MM-DD [default: today]
    #[arg(long, value_parser = date::parse)]
    pub date: Option<NaiveDate>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Sampling; defaults are from the checkpoint's generation_config.json.
#[derive(Debug, ClapArgs)]
pub struct SamplingArgs {
    /// Sampling temperature; 0 takes the most probable token
    #[arg(long)]
    pub temperature: Option<f64>,
    /// Sample from this many of the most probable tokens (0: all)
    #[arg(long)]
    pub top_k: Option<usize>,
    /// Sample from the most probable tokens with this total probability
    #[arg(long)]
    pub top_p: Option<f64>,
    /// Sample from tokens with at least this fraction of the largest probability
    #[arg(long)]
    pub min_p: Option<f64>,
    /// Divide the scores of tokens that occurred before by this
    #[arg(long)]
    pub repetition_penalty: Option<f64>,
    /// Random seed; the same seed gives the same text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
