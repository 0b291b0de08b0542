//! Arguments of the commands that write a checkpoint from others.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use smollm3_gguf::Precision;
use smollm3_model::hf::FileDtype;
use smollm3_recipe::ContextLength;

use super::CheckpointArg;

/// `smollm3 tokenizer …`.
#[derive(Debug, Subcommand)]
pub enum TokenizerCommand {
    /// Write a checkpoint with the tokens that mark turns and thinking, its embedding enlarged for them
    AddChatTokens(AddChatTokensArgs),
}

/// `smollm3 tokenizer add-chat-tokens`.
#[derive(Debug, ClapArgs)]
pub struct AddChatTokensArgs {
    /// Folder of the checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// The folder to write, which must not exist
    #[arg(long)]
    pub out: PathBuf,
}

/// `smollm3 merge`.
#[derive(Debug, ClapArgs)]
pub struct MergeArgs {
    /// A checkpoint (folder, or model on the Hub) and its weight; may be given several times
    #[arg(long, value_name = "CHECKPOINT=WEIGHT", required_unless_present = "config")]
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
    /// The folder, or model on the Hub, whose tokenizer and chat template are taken; that of the largest weight when left
    /// out
    #[arg(long, value_name = "CHECKPOINT")]
    pub tokenizer_from: Option<PathBuf>,
}

/// `smollm3 export`.
#[derive(Debug, ClapArgs)]
pub struct ExportArgs {
    /// Folder of the checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder; an adapter
    /// (PEFT) is merged into its base
    pub checkpoint: CheckpointArg,
    /// The folder to write, or the file with --gguf; it must not exist
    #[arg(long)]
    pub out: PathBuf,
    /// Write one GGUF file for llama.cpp, with numbers of this type
    #[arg(long, value_enum, value_name = "TYPE", conflicts_with = "dtype")]
    pub gguf: Option<GgufType>,
    /// Stretch the context to so many tokens by YaRN, e.g. 128k
    #[arg(long)]
    pub context: Option<ContextLength>,
    /// Type of the numbers in the files
    #[arg(long, value_enum, default_value_t = DtypeArg::Bf16)]
    pub dtype: DtypeArg,
}

/// `smollm3 upload`.
#[derive(Debug, ClapArgs)]
pub struct UploadArgs {
    /// Folder of the checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// The model on the Hub to upload to, owner/name; created where there is none
    pub repository: String,
    /// Create it so that nobody else sees it; one that is public is refused
    #[arg(long)]
    pub private: bool,
    /// The branch; created from main where there is none
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub revision: String,
    /// What the commit says; the stage and the step when left out
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// The licence that the model card names, e.g. apache-2.0; that of the recipe when left out. Refused where the folder has
    /// a README.md of its own
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
    /// Say what would be uploaded, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `smollm3 card`.
#[derive(Debug, ClapArgs)]
pub struct CardArgs {
    /// Folder of the checkpoint, in its run's folder or out of it
    pub checkpoint: CheckpointArg,
    /// The name on the Hub that the card is for, owner/name
    #[arg(long, value_name = "OWNER/NAME")]
    pub repository: Option<String>,
    /// The licence that it names, e.g. apache-2.0; that of the recipe when left out
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
}

/// Type of the matrices in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GgufType {
    /// 16 bits, IEEE half precision
    F16,
    /// 8.5 bits: bytes in blocks of 32 with a scale
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<GgufType> for Precision {
    fn from(kind: GgufType) -> Self {
        match kind {
            GgufType::F16 => Self::F16,
            GgufType::Q8_0 => Self::Q8_0,
        }
    }
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

impl From<DtypeArg> for FileDtype {
    fn from(dtype: DtypeArg) -> Self {
        match dtype {
            DtypeArg::F32 => Self::F32,
            DtypeArg::Bf16 => Self::Bf16,
            DtypeArg::F16 => Self::F16,
        }
    }
}
