//! When a checkpoint is whole: `manifest.json` has the length and the blake3 of each of its files.
//!
//! [`verify`] reads all of them, tens of gigabytes of a large model. `smollm3_records::checkpoint` has the contents of
//! `state.json` and finds checkpoints by it alone.

use std::collections::BTreeMap;
use std::path::Path;

use smollm3_files::atomic_file::{sync_file, sync_folder, write_json};
use smollm3_files::{FileHash, FileHashes, plain_files};
use smollm3_recipe::ADAPTER_FOLDER;
use smollm3_records::checkpoint::{MANIFEST, Manifest, Progress, STATE, read_manifest, read_state};

use crate::Result;

/// Writes state and manifest, and syncs all files.
pub(crate) fn seal(folder: &Path, progress: &Progress) -> Result<()> {
    write_json(&folder.join(STATE), progress)?;
    let mut entries = BTreeMap::new();
    let mut names = plain_files(folder)?;
    let adapter = folder.join(ADAPTER_FOLDER);
    if adapter.is_dir() {
        let own = plain_files(&adapter)?.into_iter();
        names.extend(own.map(|name| format!("{ADAPTER_FOLDER}/{name}")));
        sync_folder(&adapter)?;
    }
    for file in names {
        let path = folder.join(&file);
        sync_file(&path)?;
        entries.insert(file, FileHash::of(&path)?);
    }
    let manifest = folder.join(MANIFEST);
    write_json(&manifest, &Manifest { files: entries })?;
    Ok(sync_folder(folder)?)
}

/// Checks every file of a checkpoint against its manifest. A file that `hashes` knows is not read again.
///
/// # Errors
/// Which file is missing or damaged.
pub fn verify(folder: &Path, hashes: &FileHashes) -> std::result::Result<Progress, String> {
    verify_some(folder, hashes, |_| true)
}

/// [`verify`] of the files for whose names `wanted` is true.
pub(crate) fn verify_some(
    folder: &Path,
    hashes: &FileHashes,
    wanted: impl Fn(&str) -> bool,
) -> std::result::Result<Progress, String> {
    let manifest = read_manifest(folder)?;
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
