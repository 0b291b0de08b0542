//! Remote files that are fetched and evicted together.

use std::path::{Path, PathBuf};

use crate::remote::RemoteFile;
use crate::shards::Shard;

/// A remote file and the files that must lie next to it on disk.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The file that is opened.
    pub main: RemoteFile,
    /// Its companions, named like it with these suffixes (`.index`).
    pub beside: Vec<(String, RemoteFile)>,
}

impl From<RemoteFile> for Bundle {
    fn from(main: RemoteFile) -> Self {
        let beside = Vec::new();
        Bundle { main, beside }
    }
}

impl Bundle {
    /// Bytes of all its files.
    pub(super) fn bytes(&self) -> u64 {
        let beside = self.beside.iter().map(|(_, file)| file.shard.bytes);
        beside.fold(self.main.shard.bytes, u64::saturating_add)
    }

    /// 16 hexadecimal digits: a hash of the addresses, sizes and versions of its files.
    pub(super) fn key(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (file, _) in self.files(Path::new("")) {
            let Shard { name, bytes, version } = &file.shard;
            hasher.update(format!("{name}\n{bytes}\n{version}\n").as_bytes());
        }
        hasher.finalize().to_hex().chars().take(16).collect()
    }

    /// The name of the main file on disk.
    pub(super) fn base(&self) -> &str {
        self.main.relative.rsplit('/').next().unwrap_or_default()
    }

    /// Each file with its path if the main one has `path`; the main one last.
    pub(super) fn files(&self, path: &Path) -> Vec<(&RemoteFile, PathBuf)> {
        let beside = self.beside.iter().map(|(suffix, file)| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            (file, name.into())
        });
        beside.chain([(&self.main, path.to_owned())]).collect()
    }
}
