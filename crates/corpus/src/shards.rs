//! The files of a source, wherever they lie, as a numbered list that can be opened on local disk.
//!
//! Whoever reads a corpus sees only this: local files are opened in place, remote ones come through the
//! cache ([`crate::cache`]). The list is sorted by name, so a source means the same everywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::cache::ShardCache;
use crate::error::{CorpusError, Result};
use crate::glob::{compile_glob, has_glob, literal_root};
use crate::read::{ROW_FILE_NAMES, is_row_file};
use crate::remote::{Location, RemoteClient, RetryPolicy};
pub use crate::shard::{OpenShard, Shard, Shards};

/// Where remote files are kept while they are used.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// The folder; each source gets one of its own inside.
    pub folder: PathBuf,
    /// Bytes a source may take there.
    pub bytes: u64,
    /// How failing stores are treated.
    pub retry: RetryPolicy,
}

/// Opens the files `addresses` name (see [`Location`]), all local or all remote: the first are read in
/// place, the second through a cache.
///
/// # Errors
/// As [`LocalShards::find`], [`RemoteClient::list`] and [`ShardCache::open`]; local and remote mixed.
pub fn open_rows<S: AsRef<str>>(
    source: &str,
    addresses: &[S],
    cache: &CacheOptions,
) -> Result<Box<dyn Shards>> {
    let mut local = Vec::new();
    for address in addresses.iter().map(AsRef::as_ref) {
        if let Location::Local(path) = Location::parse(source, address)? {
            local.push(path);
        }
    }
    if local.len() == addresses.len() {
        return Ok(Box::new(LocalShards::find(source, &local)?));
    }
    if !local.is_empty() {
        let problem = format!(
            "`{}` is local and others are remote; give each its own source",
            local[0]
        );
        return Err(CorpusError::source(source, problem));
    }
    let client = RemoteClient::new(cache.retry)?;
    let files = client.list(source, addresses, &is_row_file)?;
    Ok(Box::new(ShardCache::open(
        source,
        cache.folder.join(source),
        cache.bytes,
        files,
        client,
    )?))
}

/// Files on local disk.
#[derive(Debug, Clone)]
pub struct LocalShards {
    name: String,
    shards: Vec<Shard>,
}

impl LocalShards {
    /// Lists what `patterns` name: files, folders (with all below them) and globs such as
    /// `data/**/*.parquet` or `part-{0,1}*.jsonl.gz`. Of folders and globs, files whose names do not tell
    /// a format are left out.
    ///
    /// # Errors
    /// A pattern that cannot be read or matches nothing.
    pub fn find<S: AsRef<str>>(name: &str, patterns: &[S]) -> Result<Self> {
        LocalShards::find_with(name, patterns, &is_row_file)
    }

    /// As [`LocalShards::find`], for another kind of file: `wanted` decides by name.
    ///
    /// # Errors
    /// A pattern that cannot be read or matches nothing.
    pub fn find_with<S: AsRef<str>>(
        name: &str,
        patterns: &[S],
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut paths = Vec::new();
        for pattern in patterns.iter().map(AsRef::as_ref) {
            let path = Path::new(pattern);
            let before = paths.len();
            if path.is_file() {
                paths.push(path.to_owned());
            } else if path.is_dir() {
                list_below(path, &mut paths, &|path| wanted(&path.to_string_lossy()))?;
            } else if has_glob(pattern) {
                let glob = compile_glob(name, pattern)?;
                let root = Path::new(literal_root(pattern));
                if root.as_os_str().is_empty() || root.is_dir() {
                    list_below(root, &mut paths, &|path| {
                        wanted(&path.to_string_lossy()) && glob.is_match(path)
                    })?;
                }
            }
            if paths.len() == before {
                let problem = match path.exists() || has_glob(pattern) {
                    true => {
                        format!("`{pattern}` holds no file it can read; files must end in {ROW_FILE_NAMES}")
                    }
                    false => format!("`{pattern}` does not exist"),
                };
                return Err(CorpusError::source(name, problem));
            }
        }
        paths.sort();
        paths.dedup();
        let shards = paths.iter().map(|path| shard(path)).collect::<Result<_>>()?;
        Ok(LocalShards {
            name: name.to_owned(),
            shards,
        })
    }
}

impl Shards for LocalShards {
    fn name(&self) -> &str {
        &self.name
    }

    fn shards(&self) -> &[Shard] {
        &self.shards
    }

    fn open(&self, index: usize) -> Result<OpenShard> {
        let shard = self.shards.get(index).ok_or_else(|| {
            CorpusError::source(
                &self.name,
                format!("it has no file {index}, it has {}", self.shards.len()),
            )
        })?;
        Ok(OpenShard::in_place(PathBuf::from(&shard.name)))
    }
}

fn shard(path: &Path) -> Result<Shard> {
    let metadata = fs::metadata(path).map_err(CorpusError::io("read", path))?;
    let modified = metadata
        .modified()
        .map_err(CorpusError::io("read the time of", path))?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Shard {
        name: path.to_string_lossy().into_owned(),
        bytes: metadata.len(),
        version: format!("mtime {}", since.as_nanos()),
    })
}

fn list_below(folder: &Path, found: &mut Vec<PathBuf>, wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
    let shown = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    for entry in fs::read_dir(shown).map_err(CorpusError::io("list", shown))? {
        let entry = entry.map_err(CorpusError::io("list", shown))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = folder.join(entry.file_name());
        if hidden {
            continue;
        }
        if path.is_dir() {
            list_below(&path, found, wanted)?;
        } else if wanted(&path) {
            found.push(path);
        }
    }
    Ok(())
}
