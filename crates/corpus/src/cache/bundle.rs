//! Remote files that come and go as one.

use std::path::{Path, PathBuf};

use crate::remote::RemoteFile;
use crate::shards::Shard;

/// A remote file and what must lie beside it on disk.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The file that is opened.
    pub main: RemoteFile,
    /// Others, under the first one's name and these suffixes (`.index`).
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

    /// 16 hexadecimal digits that stand for addresses, sizes and versions of its files.
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

    /// Each file with the path it has when the main one has `path`. The main one comes last.
    pub(super) fn files(&self, path: &Path) -> Vec<(&RemoteFile, PathBuf)> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let mut files: Vec<_> = self
            .beside
            .iter()
            .map(|(suffix, file)| (file, beside(suffix)))
            .collect();
        files.push((&self.main, path.to_owned()));
        files
    }
}
