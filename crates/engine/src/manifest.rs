//! What makes a checkpoint whole: `manifest.json` has the length and the blake3 of each of its files.
//!
//! [`verify`] reads all of them, tens of gigabytes of a large model. [`last`] reads `state.json` alone, for stages whose
//! weights are not needed now.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{ADAPTER_FOLDER, Progress, files, list, sync, write_json};
use crate::error::io;
use crate::file_hashes::FileHash;
use crate::{FileHashes, Result};

const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, FileHash>,
}

/// Says where the stage is and what the files are, and syncs them.
pub(crate) fn seal(folder: &Path, progress: &Progress) -> Result<()> {
    write_json(&folder.join(STATE), progress)?;
    let mut entries = BTreeMap::new();
    let mut names = files(folder)?;
    let adapter = folder.join(ADAPTER_FOLDER);
    if adapter.is_dir() {
        let own = files(&adapter)?.into_iter();
        names.extend(own.map(|name| format!("{ADAPTER_FOLDER}/{name}")));
        sync(&adapter)?;
    }
    for file in names {
        let path = folder.join(&file);
        sync(&path)?;
        entries.insert(file, FileHash::of(&path)?);
    }
    let manifest = folder.join(MANIFEST);
    write_json(&manifest, &Manifest { files: entries })?;
    sync(&manifest)?;
    sync(folder)
}

/// Checks every file of a checkpoint against its manifest. A file that `hashes` knows is not read again.
///
/// # Errors
/// Which file is missing or damaged.
pub fn verify(folder: &Path, hashes: &FileHashes) -> std::result::Result<Progress, String> {
    verify_some(folder, hashes, |_| true)
}

/// [`verify`] of the files whose names `wanted` says yes to.
pub(crate) fn verify_some(
    folder: &Path,
    hashes: &FileHashes,
    wanted: impl Fn(&str) -> bool,
) -> std::result::Result<Progress, String> {
    let manifest: Manifest = read_json(folder, MANIFEST)?;
    for (name, expected) in manifest.files.iter().filter(|(name, _)| wanted(name)) {
        let found = hashes
            .get(&folder.join(name))
            .map_err(|error| error.to_string())?;
        if found != *expected {
            return Err(format!(
                "{name} is not what the manifest says ({} bytes, now {})",
                expected.bytes, found.bytes
            ));
        }
    }
    read_state(folder)
}

/// The newest checkpoint of a stage and its `state.json`; no other file is read. `None` if there is none, or if its
/// `state.json` cannot be read.
///
/// # Errors
/// The folder cannot be listed.
pub fn last(stage_folder: &Path) -> Result<Option<(Progress, PathBuf)>> {
    let newest = list(stage_folder)?.pop();
    Ok(newest.and_then(|(_, folder)| Some((read_state(&folder).ok()?, folder))))
}

/// What `state.json` of a checkpoint says.
///
/// # Errors
/// It cannot be read.
pub fn read_state(folder: &Path) -> std::result::Result<Progress, String> {
    read_json(folder, STATE)
}

/// Stands for a checkpoint: the hash of its manifest, in hex; `None` of a folder without one.
///
/// # Errors
/// The manifest cannot be read.
pub fn identity(folder: &Path) -> Result<Option<String>> {
    let manifest = folder.join(MANIFEST);
    match fs::read(&manifest) {
        Ok(bytes) => Ok(Some(blake3::hash(&bytes).to_hex().to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", &manifest)(error)),
    }
}

fn read_json<T: DeserializeOwned>(folder: &Path, name: &str) -> std::result::Result<T, String> {
    let bytes = fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{name}: {error}"))
}
