//! A remote token store, read shard by shard through a bounded cache.
//!
//! The listing and its sizes give the numbers of tokens and windows, so opening terabytes fetches only one metadata file.
//! A shard is fetched whole, with its index, when one of its windows is needed. An order that stays in a shard for a while
//! and announces the next ([`StreamedStore::prefetch`]) reads each byte once; one that jumps between more shards than the
//! cache holds fetches them repeatedly.

use std::path::Path;

use super::fingerprint::Fingerprint;
use super::format::{Metadata, TokenWidth};
use super::reader::{OpenOptions, TokenStore};
use crate::cache::{Bundle, ShardCache};
use crate::error::{CorpusError, Result};
use crate::remote::{RemoteClient, RemoteFile};
use crate::shards::{CacheOptions, OpenShard, Shards};

/// A remote folder of `.ds` files.
#[derive(Debug)]
pub struct StreamedStore {
    cache: ShardCache,
    options: OpenOptions,
    /// Tokens of each shard.
    tokens: Vec<u64>,
}

/// One shard on local disk, for as long as this value lives.
#[derive(Debug)]
pub struct StreamedShard {
    store: TokenStore,
    _pin: OpenShard,
}

impl AsRef<TokenStore> for StreamedShard {
    fn as_ref(&self) -> &TokenStore {
        &self.store
    }
}

impl StreamedStore {
    /// Opens the `.ds` files that remote `addresses` name, sorted by name, as one store.
    ///
    /// # Errors
    /// As [`RemoteClient::list`] and [`ShardCache::open`]; a `.ds` without index or metadata, or whose
    /// size does not fit its width.
    pub fn open<S: AsRef<str>>(
        source: &str,
        addresses: &[S],
        cache: &CacheOptions,
        options: &OpenOptions,
        client: RemoteClient,
    ) -> Result<Self> {
        let part = |name: &str| {
            [".ds", ".ds.index", ".ds.metadata"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let (main, beside): (Vec<_>, Vec<_>) = client
            .list(source, addresses, &part)?
            .into_iter()
            .partition(|file| file.relative.ends_with(".ds"));
        let find = |file: &RemoteFile, suffix: &str| {
            let name = format!("{}{suffix}", file.shard.name);
            let found = beside.iter().find(|file| file.shard.name == name).cloned();
            found.map(|found| (suffix.to_owned(), found)).ok_or_else(|| {
                CorpusError::source(source, format!("`{name}` is missing; every .ds file needs it"))
            })
        };
        let mut bundles = Vec::new();
        for file in main {
            let mut bundle = Bundle::from(file);
            if !options.ignore_index {
                bundle.beside.push(find(&bundle.main, ".index")?);
            }
            if options.width.is_none() {
                bundle.beside.push(find(&bundle.main, ".metadata")?);
            }
            bundles.push(bundle);
        }
        let metadata = bundles.first().and_then(|bundle| bundle.beside.last());
        let width = match (options.width, metadata) {
            (Some(width), _) => width,
            (None, Some((_, metadata))) => {
                let text = client.text(source, metadata)?;
                Metadata::parse(Path::new(&metadata.shard.name), &text)?.width
            }
            (None, None) => return Err(CorpusError::source(source, "it holds no .ds file")),
        };
        let tokens = bundles
            .iter()
            .map(|bundle| shard_tokens(source, &bundle.main, width))
            .collect::<Result<_>>()?;
        let folder = cache.folder.join(source);
        let cache = ShardCache::open(source, folder, cache.bytes, bundles, client)?;
        Ok(StreamedStore {
            cache,
            options: OpenOptions {
                width: Some(width),
                ..*options
            },
            tokens,
        })
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        self.cache.name()
    }

    /// A fingerprint of the names, sizes and versions of the files, as the store lists them.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = blake3::Hasher::new_derive_key("smollm3 corpus: files of a streamed store, version 1");
        for shard in self.cache.shards() {
            for text in [&shard.name, &shard.version] {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            hash.update(&shard.bytes.to_le_bytes());
        }
        Fingerprint::from_hash(hash.finalize())
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.tokens.len()
    }

    /// Number of tokens in all shards.
    pub fn len_tokens(&self) -> u64 {
        self.tokens.iter().sum()
    }

    /// Number of windows of `sequence_length + 1` tokens in each shard.
    pub fn windows(&self, sequence_length: u64) -> Vec<u64> {
        let windows = |tokens: &u64| tokens / sequence_length.saturating_add(1);
        self.tokens.iter().map(windows).collect()
    }

    /// Shard `shard` as a store; waits for its download if needed.
    ///
    /// # Errors
    /// It cannot be fetched (with the source's name) or is damaged.
    pub fn shard(&self, shard: usize) -> Result<StreamedShard> {
        let open = self.cache.open(shard)?;
        let store = self.options.open(open.path())?;
        Ok(StreamedShard { store, _pin: open })
    }

    /// Starts fetching shard `shard` in the background. Returns at once.
    pub fn prefetch(&self, shard: usize) {
        self.cache.prefetch(shard);
    }
}

fn shard_tokens(source: &str, file: &RemoteFile, width: TokenWidth) -> Result<u64> {
    let (name, bytes, width) = (&file.shard.name, file.shard.bytes, width.bytes());
    if bytes.is_multiple_of(width) {
        return Ok(bytes / width);
    }
    let problem = format!("`{name}` has {bytes} bytes, not a multiple of {width} bytes a token");
    Err(CorpusError::source(source, problem))
}
