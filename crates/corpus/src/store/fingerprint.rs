//! The fingerprint of a store: blake3 over the tokens and document ends of its files, in order.
//!
//! Names, folders and the metadata are not hashed, so a store may be moved or renamed. Hashing runs on all cores at
//! the speed of the disk, and happens once: `X.ds.blake3` caches the result with the sizes and modification times of
//! the files. The writer creates it. A file whose size or time differs is hashed again, so a change is detected.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;
use smollm3_files::io;

use super::format::beside;
use super::reader::{TokenFile, TokenStore};
use crate::error::{CorpusError, Result};

/// A hash of the contents of a store or a source; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(blake3::Hash);

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_hex()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = CorpusError;

    /// Reads back what [`Fingerprint::to_hex`] wrote.
    fn try_from(text: String) -> Result<Self> {
        let hash = blake3::Hash::from_hex(&text);
        hash.map(Fingerprint).map_err(|_| {
            CorpusError::argument(
                "fingerprint",
                format!("must be 64 hexadecimal digits, got `{text}`"),
            )
        })
    }
}

impl Fingerprint {
    /// The hexadecimal digits, for logs and `state.json`.
    pub fn to_hex(&self) -> String {
        self.0.to_hex().to_string()
    }

    pub(crate) fn from_hash(hash: blake3::Hash) -> Self {
        Fingerprint(hash)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// `X.ds.blake3`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    tokens: Hashed,
    index: Hashed,
}

/// One file's hash, with the size and time by which a change is detected.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hashed {
    blake3: Fingerprint,
    bytes: u64,
    modified_ns: u64,
}

impl Hashed {
    fn of(path: &Path, blake3: blake3::Hash) -> Result<Self> {
        let (bytes, modified_ns) = size_and_time(path)?;
        Ok(Hashed {
            blake3: Fingerprint(blake3),
            bytes,
            modified_ns,
        })
    }

    fn still_holds(&self, path: &Path) -> bool {
        size_and_time(path).is_ok_and(|now| now == (self.bytes, self.modified_ns))
    }
}

fn size_and_time(path: &Path) -> Result<(u64, u64)> {
    let metadata = fs::metadata(path).map_err(io("read", path))?;
    let modified = metadata.modified().map_err(io("read the time of", path))?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), since.as_nanos() as u64))
}

/// Writes the record of freshly written files.
pub(super) fn record(tokens: &Path, tokens_hash: blake3::Hash, index_hash: blake3::Hash) -> Result<()> {
    let index = beside(tokens, "index");
    let record = Record {
        tokens: Hashed::of(tokens, tokens_hash)?,
        index: Hashed::of(&index, index_hash)?,
    };
    Ok(write_json(&beside(tokens, "blake3"), &record)?)
}

impl TokenFile {
    fn hashes(&self) -> Result<(blake3::Hash, blake3::Hash)> {
        let hash = |bytes| blake3::Hasher::new().update_rayon(bytes).finalize();
        if self.documents().is_none() {
            return Ok((hash(self.token_bytes()), hash(&[])));
        }
        let index = beside(self.path(), "index");
        let known = fs::read_to_string(beside(self.path(), "blake3")).ok();
        let known = known.and_then(|text| serde_json::from_str::<Record>(&text).ok());
        if let Some(record) = known
            && record.tokens.still_holds(self.path())
            && record.index.still_holds(&index)
        {
            return Ok((record.tokens.blake3.0, record.index.blake3.0));
        }
        self.verify()?;
        let (tokens_hash, index_hash) = (hash(self.token_bytes()), hash(self.index_bytes()));
        // On a read-only disk the record cannot be kept, and the store is hashed each time.
        if let Err(error) = record(self.path(), tokens_hash, index_hash) {
            tracing::debug!(%error, "cannot cache the fingerprint");
        }
        Ok((tokens_hash, index_hash))
    }
}

impl TokenStore {
    /// The fingerprint of all files. The first call reads everything, later ones only the cached hashes.
    ///
    /// # Errors
    /// A damaged index (the whole of it is checked), or a file that cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.width().bytes().to_le_bytes());
        for file in self.files() {
            let (tokens, index) = file.hashes()?;
            hasher.update(tokens.as_bytes());
            hasher.update(index.as_bytes());
        }
        Ok(Fingerprint(hasher.finalize()))
    }
}
