//! `smollm3 data …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use smollm3_corpus::tokenize::{BadRows, Worker};
use smollm3_recipe::Percent;

use super::choices::{BAD_ROWS, one_of};
use super::{CacheArgs, PairsArgs, RecipeArgs, ResponsesArgs};

/// `smollm3 data …`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Tokenize Parquet or JSON lines into a token store, resuming where an earlier call stopped
    Tokenize(TokenizeArgs),
    /// Merge the stores of `tokenize --shard` without copying them
    MergeStores(MergeStoresArgs),
    /// Download remote files
    Fetch(FetchArgs),
    /// Prepare a recipe's tokenizer and token stores, as `run` does before its first step
    Prepare(RecipeArgs),
    /// Show the source and window of each sequence of a step
    Order(OrderArgs),
    /// Show a row of conversations token by token: text, role, whether it is in the loss
    Explain(ExplainArgs),
    /// Generate conversations for fine-tuning from the answers of a model
    Responses(Box<ResponsesArgs>),
    /// Generate preference pairs from the answers of one or two models
    Pairs(Box<PairsArgs>),
}

/// `smollm3 data tokenize`.
#[derive(Debug, ClapArgs)]
pub struct TokenizeArgs {
    /// Files, folders, globs, or addresses: s3://, gs://, http(s)://, hf://datasets/owner/name/…
    #[arg(required = true)]
    pub inputs: Vec<String>,
    /// A tokenizer.json, its folder, or a model on the Hub: owner/name
    #[arg(long)]
    pub tokenizer: PathBuf,
    /// Output folder, for train/, held-out/ and report.json
    #[arg(long, short, visible_alias = "output")]
    pub out: PathBuf,
    /// Name of the source in messages and the report [default: the name of the output folder]
    #[arg(long)]
    pub name: Option<String>,
    /// Column of the text
    #[arg(long, default_value = "text")]
    pub column: String,
    /// Fraction of the documents to hold out, chosen by a hash of their text
    #[arg(long, default_value = "0%")]
    pub held_out: Percent,
    /// Rows without usable text
    #[arg(long, value_parser = one_of(BAD_ROWS), default_value = "stop")]
    pub bad_rows: BadRows,
    /// Number of threads, which does not affect the output [default: all cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Tokenize only one shard of the files, e.g. 3/64, into its own folder for `data merge-stores`
    #[arg(long, value_name = "N/OF")]
    pub shard: Option<Worker>,
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// `smollm3 data merge-stores`.
#[derive(Debug, ClapArgs)]
pub struct MergeStoresArgs {
    /// Output folders of all shards, in any order
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// Output folder; on the same file system it takes no space
    #[arg(long, short, visible_alias = "output")]
    pub out: PathBuf,
}

/// `smollm3 data fetch`.
#[derive(Debug, ClapArgs)]
pub struct FetchArgs {
    /// Addresses: s3://, gs://, http(s)://, hf://datasets/owner/name/…; also folders and globs
    #[arg(required = true)]
    pub addresses: Vec<String>,
    /// Output folder
    #[arg(long)]
    pub to: PathBuf,
}

/// `smollm3 data order`.
#[derive(Debug, ClapArgs)]
pub struct OrderArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Step, from 1
    #[arg(long)]
    pub step: u64,
    /// Number of steps
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Stage [default: the recipe's first]
    #[arg(long)]
    pub stage: Option<String>,
    /// Only the sequences of this rank
    #[arg(long, requires = "world")]
    pub rank: Option<u64>,
    /// Number of ranks
    #[arg(long, requires = "rank")]
    pub world: Option<u64>,
    /// Print one JSON object per step
    #[arg(long)]
    pub json: bool,
    /// Also show the documents; needs the data (`smollm3 data prepare`)
    #[arg(long)]
    pub text: bool,
}

/// `smollm3 data explain`.
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Stage [default: the recipe's last on conversations]
    #[arg(long)]
    pub stage: Option<String>,
    /// Name of the stage's data [default: the first]
    #[arg(long)]
    pub data: Option<String>,
    /// Row, from 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub row: u64,
    /// Print one JSON object per token
    #[arg(long)]
    pub json: bool,
}
