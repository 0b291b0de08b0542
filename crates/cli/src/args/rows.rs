//! Options of commands that read files of rows.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::CacheOptions;
use smollm3_recipe::Bytes;

/// The cache of remote files.
#[derive(Debug, ClapArgs)]
pub struct CacheArgs {
    /// Folder for remote files while they are read [default: next to the output]
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Maximum size of that folder
    #[arg(long, default_value = "50GB")]
    cache_size: Bytes,
}

impl CacheArgs {
    /// The cache, by default in `folder`.
    pub fn options(&self, folder: PathBuf) -> CacheOptions {
        CacheOptions {
            folder: self.cache.clone().unwrap_or(folder),
            bytes: self.cache_size.0,
            retry: RetryPolicy::default(),
        }
    }
}
