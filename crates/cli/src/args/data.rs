//! `smollm3 data …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use smollm3_corpus::tokenize::Worker;
use smollm3_recipe::Percent;

use super::{BadRows, CacheArgs, PairsArgs, RecipeArgs, ResponsesArgs};

/// `smollm3 data …`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Turn Parquet or JSON lines into a token store, going on where an earlier call stopped
    Tokenize(TokenizeArgs),
    /// Make one store of those that `tokenize --shard` wrote, without copying them
    MergeStores(MergeStoresArgs),
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

/// `smollm3 data tokenize`.
#[derive(Debug, ClapArgs)]
pub struct TokenizeArgs {
    /// Files, folders, globs, or addresses: s3://, gs://, http(s)://, hf://datasets/owner/name/…
    #[arg(required = true)]
    pub inputs: Vec<String>,
    /// A tokenizer.json, the folder that holds it, or a model on the Hub: owner/name
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
    /// Take only a part of the files, such as 3/64: each into a folder of its own, for `data merge-stores`
    #[arg(long, value_name = "N/OF")]
    pub shard: Option<Worker>,
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// `smollm3 data merge-stores`.
#[derive(Debug, ClapArgs)]
pub struct MergeStoresArgs {
    /// The output folders of all shards, in any order
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// The folder to write; on the same file system it takes no room
    #[arg(long)]
    pub out: PathBuf,
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
