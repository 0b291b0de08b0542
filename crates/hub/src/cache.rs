//! The cache of Hugging Face's Python library, in its layout.
//!
//! ```text
//! models--owner--name/
//!   blobs/ETAG                        contents, each once; ETAG.incomplete during the download
//!   refs/main                         the commit of a branch or tag when last seen
//!   snapshots/COMMIT/config.json      a relative link to its blob
//!   .no_exist/COMMIT/vocab.json       an empty file: the commit has no file of this name
//! .locks/models--owner--name/ETAG.lock
//! ```
//!
//! Source: `_hf_hub_download_to_cache_dir` and `_create_symlink` of `huggingface_hub`, and its page "Understand caching".

use std::fs;
use std::path::{Component, Path, PathBuf};

use smollm3_files::io;
use smollm3_recipe::{HubId, PEFT_CONFIG};

use crate::error::Result;
use crate::wanted::{ADAPTER, CONFIG, INDEX, SINGLE, TOKENIZER, Wanted, shards};

const PREFIX: &str = "models--";

/// The cache of one repository.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    name: String,
}

/// The repository and commit of a folder in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `owner/name`.
    pub repository: String,
    /// The commit.
    pub commit: String,
}

impl Cache {
    /// The cache of `repository` below `root`.
    pub fn new(root: &Path, repository: &str) -> Self {
        Self {
            root: root.to_owned(),
            name: format!("{PREFIX}{}", repository.replace('/', "--")),
        }
    }

    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// The folder of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    /// The folder of a model in a commit.
    pub(crate) fn folder_of(&self, id: &HubId, commit: &str) -> PathBuf {
        // The parts of one path: joining an empty one would end it with a separator.
        self.snapshot(commit)
            .components()
            .chain(Path::new(&id.folder).components())
            .collect()
    }

    /// The path of a complete blob.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.root
            .join(".locks")
            .join(&self.name)
            .join(format!("{etag}.lock"))
    }

    /// The commit of a revision when last seen; a commit stands for itself.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let found = fs::read_to_string(self.folder().join("refs").join(revision)).ok()?;
        Some(found.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Records the commit of a revision. A read-only cache is left as it is, at the cost of another request.
    pub(crate) fn remember(&self, revision: &str, commit: &str) {
        if revision != commit && self.commit_of(revision).as_deref() != Some(commit) {
            note(&self.folder().join("refs").join(revision), commit);
        }
    }

    /// Records that a commit has no file of this name, as [`remember`](Self::remember) does.
    pub(crate) fn mark_absent(&self, commit: &str, name: &str) {
        let path = self.absent(commit, name);
        if !path.exists() {
            note(&path, "");
        }
    }

    fn absent(&self, commit: &str, name: &str) -> PathBuf {
        self.folder().join(".no_exist").join(commit).join(name)
    }

    /// Whether the cache has everything `wanted` that the commit has.
    pub(crate) fn is_complete(&self, id: &HubId, commit: &str, wanted: Wanted) -> bool {
        let known = |name: &str| {
            let name = inside(&id.folder, name);
            self.snapshot(commit).join(&name).exists() || self.absent(commit, &name).exists()
        };
        self.missing(id, commit, wanted).is_none() && wanted.names().into_iter().all(known)
    }

    /// The first indispensable file that is missing. Whether the commit has optional files is not known here.
    pub(crate) fn missing(&self, id: &HubId, commit: &str, wanted: Wanted) -> Option<String> {
        let folder = self.folder_of(id, commit);
        let absent = |name: &str| !folder.join(name).exists();
        if !absent(PEFT_CONFIG) && absent(SINGLE) && absent(INDEX) {
            return (wanted.weights && absent(ADAPTER)).then(|| ADAPTER.to_owned());
        }
        if wanted.config && absent(CONFIG) {
            return Some(CONFIG.to_owned());
        }
        // As everywhere, one file comes before an index.
        if wanted.weights && absent(SINGLE) {
            let index = fs::read_to_string(folder.join(INDEX));
            let Ok(index) = index else {
                return Some(SINGLE.to_owned());
            };
            let Some(names) = shards(&index) else {
                return Some(INDEX.to_owned());
            };
            if let Some(name) = names.into_iter().find(|name| absent(name)) {
                return Some(name);
            }
        }
        let alone = !wanted.config && !wanted.weights;
        (wanted.tokenizer && alone && absent(TOKENIZER)).then(|| TOKENIZER.to_owned())
    }

    /// Gives a blob its name in a commit.
    pub(crate) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        if path.exists() {
            return Ok(());
        }
        create_parent(&path)?;
        #[cfg(unix)]
        {
            let up = "../".repeat(2 + name.matches('/').count());
            let target = format!("{up}blobs/{etag}");
            let link = || std::os::unix::fs::symlink(&target, &path);
            let linked = match link() {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => match path.exists() {
                    // Another process was faster.
                    true => Ok(()),
                    // A link to a blob that was deleted.
                    false => fs::remove_file(&path).and_then(|()| link()),
                },
                done => done,
            };
            linked.map_err(io("link", &path))?;
        }
        #[cfg(not(unix))]
        fs::copy(self.blob(etag), &path).map_err(io("copy", &path))?;
        Ok(())
    }
}

impl Origin {
    /// The origin of a folder that is a snapshot in the cache, or inside one.
    pub fn of(folder: &Path) -> Option<Self> {
        let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let names: Vec<&str> = whole
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        names.windows(3).rev().find_map(|window| match window {
            [repository, "snapshots", commit] if is_commit(commit) => Some(Self {
                repository: repository.strip_prefix(PREFIX)?.replacen("--", "/", 1),
                commit: (*commit).to_owned(),
            }),
            _ => None,
        })
    }
}

/// `name` in `folder`, as the Hub spells it.
pub(crate) fn inside(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

/// Whether a revision is a whole commit hash.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40
        && revision
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Writes what could also be requested again.
fn note(path: &Path, text: &str) {
    let written = create_parent(path).and_then(|()| Ok(fs::write(path, text).map_err(io("write", path))?));
    if let Err(error) = written {
        tracing::debug!(%error, "not cached");
    }
}

pub(crate) fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    Ok(fs::create_dir_all(folder).map_err(io("create", folder))?)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_file_of_a_commit_is_never_gone_while_others_link_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: folder.path().to_owned(),
            name: format!("{PREFIX}owner--name"),
        };
        let blob = cache.blob("etag");
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, "text").unwrap();
        for round in 0..200 {
            let (commit, start) = (round.to_string(), Barrier::new(4));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        cache.link(&commit, "config.json", "etag").unwrap();
                        let path = cache.snapshot(&commit).join("config.json");
                        assert_eq!(fs::read_to_string(path).unwrap(), "text");
                    });
                }
            });
            // Nothing else is left there.
            assert_eq!(fs::read_dir(cache.snapshot(&commit)).unwrap().count(), 1);
        }
    }
}
