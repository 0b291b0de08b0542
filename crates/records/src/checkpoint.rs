//! What a checkpoint's folder says of itself: `state.json`, the progress of the stage, and `manifest.json`, its files.
//!
//! No weights are read here; the engine checks the files against the manifest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smollm3_files::{FileHash, io};

use crate::error::{Result, read};
use crate::fault::GuardState;
use crate::validation_state::ValidationState;

/// The file of [`Progress`].
pub const STATE: &str = "state.json";
/// The file of [`Manifest`].
pub const MANIFEST: &str = "manifest.json";

/// Where a stage is: `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The stage.
    pub stage: String,
    /// Steps done.
    pub step: u64,
    /// Steps of the whole stage, or those done where it ended early; 0 if an earlier version wrote this or the stage has no
    /// steps.
    #[serde(default)]
    pub steps: u64,
    /// Tokens seen in this stage.
    pub tokens: u64,
    /// Optimizer updates done, including those of earlier stages whose state was kept.
    pub updates: u64,
    /// Fingerprint of the recipe.
    pub recipe: String,
    /// Fingerprint of each source's token store.
    pub data: BTreeMap<String, String>,
    /// Version of this program.
    pub version: String,
    /// `run.deterministic` when this was written; unknown for checkpoints of 0.1 and merged models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
    /// What the guard remembers.
    #[serde(default)]
    pub guard: GuardState,
    /// The history of its validation loss, if it has `validation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationState>,
}

impl Progress {
    /// Whether the stage ends with this step.
    pub fn is_end(&self) -> bool {
        self.steps > 0 && self.step == self.steps
    }
}

/// The name of a checkpoint's folder.
pub fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// What a checkpoint's files are: `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Length and hash of each, by name.
    pub files: BTreeMap<String, FileHash>,
}

/// `(step, folder)` of the folders with a checkpoint's name, by step, whether whole or not.
///
/// # Errors
/// The folder cannot be listed.
pub fn list(stage_folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut folders = Vec::new();
    if !stage_folder.exists() {
        return Ok(folders);
    }
    for entry in fs::read_dir(stage_folder).map_err(io("list", stage_folder))? {
        let path = entry.map_err(io("list", stage_folder))?.path();
        let step = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("step-")?.parse::<u64>().ok());
        folders.extend(step.map(|step| (step, path)));
    }
    folders.sort_unstable();
    Ok(folders)
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
pub fn read_state(folder: &Path) -> Result<Progress, String> {
    read_json(folder, STATE)
}

/// Identifies a checkpoint: the hash of its manifest, in hex; `None` for a folder without one.
///
/// # Errors
/// The manifest cannot be read.
pub fn identity(folder: &Path) -> Result<Option<String>> {
    Ok(read(&folder.join(MANIFEST))?.map(|bytes| blake3::hash(&bytes).to_hex().to_string()))
}

/// What `manifest.json` of a checkpoint says.
///
/// # Errors
/// It cannot be read.
pub fn read_manifest(folder: &Path) -> Result<Manifest, String> {
    read_json(folder, MANIFEST)
}

fn read_json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T, String> {
    let bytes = fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{name}: {error}"))
}
