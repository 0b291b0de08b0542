//! Arguments of the commands that let a checkpoint write.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use smollm3_recipe::ContextLength;

use super::{CheckpointArg, DeviceArgs, PrecisionArg};

/// `smollm3 generate`.
#[derive(Debug, ClapArgs)]
pub struct GenerateArgs {
    /// Folder of the checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// The text to continue; special tokens in it are parsed, for there is no template
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

/// `smollm3 chat`.
#[derive(Debug, ClapArgs)]
pub struct ChatArgs {
    /// Folder of the checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
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
    /// Folder of the checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// Address to listen on; 0.0.0.0 lets other machines in, unasked
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on (0: any that is free)
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// What requests call the model; the checkpoint as it is typed when left out
    #[arg(long)]
    pub name: Option<String>,
    /// Requests at once, those that wait included; more are sent away
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub requests: u16,
    /// Tokens of a request that are kept at once, e.g. 64k; it may have eight times as many in all
    #[arg(long, default_value = "64k")]
    pub batch_tokens: ContextLength,
    /// Open connections at most
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// A name (without port) that requests may call this machine by, besides localhost; may be given several times
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// The date that the template may tell, YYYY-MM-DD; today when left out
    #[arg(long)]
    pub date: Option<String>,
    /// Type of the weights and matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// How each token is chosen; what is left out is taken from the checkpoint's generation_config.json.
#[derive(Debug, ClapArgs)]
pub struct SamplingArgs {
    /// 0 takes the most probable token, 1 leaves probabilities as they are; 0 if the checkpoint does not sample
    #[arg(long)]
    pub temperature: Option<f64>,
    /// Consider this many of the most probable tokens (0: all)
    #[arg(long)]
    pub top_k: Option<usize>,
    /// Consider the most probable tokens that make up this part
    #[arg(long)]
    pub top_p: Option<f64>,
    /// Consider tokens with at least this part of the largest probability
    #[arg(long)]
    pub min_p: Option<f64>,
    /// Divide the scores of tokens that are there already by this
    #[arg(long)]
    pub repetition_penalty: Option<f64>,
    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
