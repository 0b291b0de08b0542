//! The files of a source, local or remote, as a numbered list that can be opened on local disk.
//!
//! Local files are opened in place, remote ones through the cache ([`crate::cache`]). The list is sorted by name, so a
//! source means the same everywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use smollm3_files::{io, list};

use crate::cache::ShardCache;
use crate::error::{CorpusError, Result};
use crate::glob::{compile_glob, has_glob, literal_root};
use crate::read::{ROW_FILE_NAMES, is_listed};
use crate::remote::{Location, RemoteClient, RetryPolicy};
pub use crate::shard::{OpenShard, Shard, Shards};

/// Where remote files are cached.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// The folder; each source gets a subfolder.
    pub folder: PathBuf,
    /// Bytes a source may take there.
    pub bytes: u64,
    /// How failing stores are treated.
    pub retry: RetryPolicy,
}

/// Opens the files that `addresses` name (see [`Location`]), all local (read in place) or all remote (through a cache).
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
    let files = client.list(source, addresses, &is_listed)?;
    let folder = cache.folder.join(source);
    Ok(Box::new(ShardCache::open(
        source,
        folder,
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
    /// Lists what `patterns` name: files, folders (recursively) and globs such as `data/**/*.parquet` or
    /// `part-{0,1}*.jsonl.gz`. In folders and globs, files whose names are not those of files of rows are left out.
    ///
    /// # Errors
    /// A pattern that cannot be read or matches nothing.
    pub fn find<S: AsRef<str>>(name: &str, patterns: &[S]) -> Result<Self> {
        let mut paths = Vec::new();
        for pattern in patterns.iter().map(AsRef::as_ref) {
            let path = Path::new(pattern);
            let before = paths.len();
            if path.is_file() {
                paths.push(path.to_owned());
            } else if path.is_dir() {
                list_below(path, &[], &mut paths, &|_| true)?;
            } else if has_glob(pattern) {
                let glob = compile_glob(name, pattern)?;
                let root = Path::new(literal_root(pattern));
                if root.as_os_str().is_empty() || root.is_dir() {
                    list_below(root, &[], &mut paths, &|path| glob.is_match(path))?;
                }
            }
            if paths.len() == before {
                let problem = match path.exists() || has_glob(pattern) {
                    true if path.join("state.json").is_file() => format!(
                        "`{pattern}` holds Arrow files, as `save_to_disk` of the library datasets writes them; write them as \
                         Parquet: datasets.load_from_disk(\"{pattern}\").to_parquet(\"rows.parquet\")"
                    ),
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
        match self.shards.get(index) {
            Some(shard) => Ok(OpenShard::in_place(PathBuf::from(&shard.name))),
            None => {
                let problem = format!("it has no file {index}, it has {}", self.shards.len());
                Err(CorpusError::source(&self.name, problem))
            }
        }
    }
}

fn shard(path: &Path) -> Result<Shard> {
    let metadata = fs::metadata(path).map_err(io("read", path))?;
    let modified = metadata.modified().map_err(io("read the time of", path))?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Shard {
        name: path.to_string_lossy().into_owned(),
        bytes: metadata.len(),
        version: format!("mtime {}", since.as_nanos()),
    })
}

/// Adds the files of rows below `folder` that are `wanted` and not hidden. `above` are the folders that it lies in.
fn list_below(
    folder: &Path,
    above: &[PathBuf],
    found: &mut Vec<PathBuf>,
    wanted: &dyn Fn(&Path) -> bool,
) -> Result<()> {
    let place = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let real = fs::canonicalize(place).map_err(io("find", place))?;
    // A link to a folder that it lies in: its files would be listed again and again.
    if above.iter().any(|above| above.starts_with(&real)) {
        return Ok(());
    }
    let above = [above, &[real]].concat();
    for path in list(place)? {
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = folder.join(name);
        if path.is_dir() {
            list_below(&path, &above, found, wanted)?;
        } else if is_listed(&path.to_string_lossy()) && wanted(&path) {
            found.push(path);
        }
    }
    Ok(())
}
