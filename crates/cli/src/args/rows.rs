//! What commands that read files of rows have in common.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use smollm3_recipe::Bytes;

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
