//! Commands that write or upload a checkpoint.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use smollm3_gguf::Precision;
use smollm3_model::hf::FileDtype;
use smollm3_recipe::ContextLength;

use super::CheckpointArg;
use super::choices::{Choice, one_of};

/// `smollm3 tokenizer …`.
#[derive(Debug, Subcommand)]
pub enum TokenizerCommand {
    /// Add the tokens for turns and thinking, and enlarge the embedding for them
    AddChatTokens(AddChatTokensArgs),
}

/// `smollm3 tokenizer add-chat-tokens`.
#[derive(Debug, ClapArgs)]
pub struct AddChatTokensArgs {
    /// Folder of a checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// Output folder, which must not exist
    #[arg(long, short, visible_alias = "output")]
    pub out: PathBuf,
}

/// `smollm3 merge`.
#[derive(Debug, ClapArgs)]
pub struct MergeArgs {
    /// A checkpoint (folder, or model on the Hub) and its weight; repeatable
    #[arg(long, value_name = "CHECKPOINT=WEIGHT", required_unless_present = "config")]
    pub model: Vec<String>,
    /// mergekit YAML of a linear merge, instead of --model
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub config: Option<PathBuf>,
    /// Output folder, which must not exist
    #[arg(long, short, visible_alias = "output")]
    pub out: PathBuf,
    /// Do not divide the weights by their sum
    #[arg(long)]
    pub as_given: bool,
    /// Type of the numbers in the files [default: that of the first checkpoint]
    #[arg(long, value_parser = one_of(DTYPES))]
    pub dtype: Option<FileDtype>,
    /// Folder or model on the Hub with the tokenizer and chat template [default: the checkpoint with the largest weight]
    #[arg(long, value_name = "CHECKPOINT")]
    pub tokenizer_from: Option<PathBuf>,
}

/// `smollm3 export`.
#[derive(Debug, ClapArgs)]
pub struct ExportArgs {
    /// Folder of a checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder; an adapter
    /// (PEFT) is merged into its base
    pub checkpoint: CheckpointArg,
    /// Output folder, or file with --gguf, which must not exist
    #[arg(long, short, visible_alias = "output")]
    pub out: PathBuf,
    /// Write one GGUF file for llama.cpp with this type of numbers
    #[arg(long, value_parser = one_of(GGUF_TYPES), value_name = "TYPE", conflicts_with = "dtype")]
    pub gguf: Option<Precision>,
    /// Extend the context to this many tokens by YaRN, e.g. 128k
    #[arg(long)]
    pub context: Option<ContextLength>,
    /// Type of the numbers in the files
    #[arg(long, value_parser = one_of(DTYPES), default_value = "bf16")]
    pub dtype: FileDtype,
}

/// `smollm3 upload`.
#[derive(Debug, ClapArgs)]
pub struct UploadArgs {
    /// Folder of a checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// Model on the Hub to upload to, owner/name; created if it does not exist
    pub repository: String,
    /// Create it as private; a public one is refused
    #[arg(long)]
    pub private: bool,
    /// Branch; created from main if it does not exist
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub revision: String,
    /// Commit message [default: stage and step]
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Licence in the model card, e.g. apache-2.0 [default: the recipe's]. Refused if the folder has its own README.md
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
    /// List what would be uploaded
    #[arg(long)]
    pub dry_run: bool,
}

/// `smollm3 card`.
#[derive(Debug, ClapArgs)]
pub struct CardArgs {
    /// Folder of a checkpoint, inside or outside its run's folder
    pub checkpoint: CheckpointArg,
    /// Name on the Hub, owner/name
    #[arg(long, value_name = "OWNER/NAME")]
    pub repository: Option<String>,
    /// Licence, e.g. apache-2.0 [default: the recipe's]
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
}

/// Types of the matrices in a GGUF file.
const GGUF_TYPES: &[Choice<Precision>] = &[
    ("f16", Precision::F16, "16 bits, IEEE half precision"),
    (
        "q8_0",
        Precision::Q8_0,
        "8.5 bits: blocks of 32 bytes with a scale",
    ),
];

/// Types of the numbers in a file.
const DTYPES: &[Choice<FileDtype>] = &[
    ("f32", FileDtype::F32, "32 bits"),
    ("bf16", FileDtype::Bf16, "16 bits with the exponent of f32"),
    ("f16", FileDtype::F16, "16 bits, IEEE half precision"),
];
