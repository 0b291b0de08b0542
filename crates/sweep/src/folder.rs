//! The folders that a sweep writes to: which runs are finished, which are of another recipe, who works there.
//!
//! ```text
//! OUTPUT/
//!   base-1/ …        ordinary runs' folders, each with finished.json once it is
//!   prepared/KEY/    tokenizer and tokens that runs share
//!   logs/base-1.log  what the run has said
//!   table.md  sweep.json  report.html
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use smollm3_recipe::{Difference, Recipe};

use crate::error::io;
use crate::{PlannedRun, Result, SweepError};

/// What the engine calls the recipe of a run's folder.
pub(crate) const RECIPE: &str = "recipe.json";

const FINISHED: &str = "finished.json";

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    New,
    Started,
    Finished,
}

impl State {
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::New => "to run",
            Self::Started => "goes on where it was stopped",
            Self::Finished => "finished",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Finished {
    recipe: String,
}

/// Stands for a recipe and for what is measured of it, which is no part of the recipe's own fingerprint.
pub(crate) fn hash(recipe: &Recipe) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(recipe.fingerprint().as_bytes());
    // Fails only for maps whose keys are no strings, and there are none.
    hasher.update(&serde_json::to_vec(&recipe.evaluation).unwrap_or_default());
    hasher.finalize().to_hex().to_string()
}

impl PlannedRun {
    /// How far it is.
    ///
    /// # Errors
    /// Its folder is of another recipe, or cannot be read.
    pub(crate) fn state(&self) -> Result<State> {
        let path = self.folder.join(RECIPE);
        let found = match fs::read_to_string(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::New),
            Err(error) => return Err(io("read", &path)(error)),
        };
        let differences = self
            .recipe
            .differences(&found)
            .map_err(|source| SweepError::Recipe {
                variation: self.variation.clone(),
                source: Box::new(source),
            })?;
        if !differences.is_empty() {
            return Err(SweepError::Changed {
                path: self.folder.clone(),
                differences: differences.iter().map(line).collect::<Vec<_>>().join("\n"),
            });
        }
        let finished = fs::read(self.folder.join(FINISHED)).ok();
        let finished = finished.and_then(|bytes| serde_json::from_slice::<Finished>(&bytes).ok());
        Ok(match finished {
            Some(finished) if finished.recipe == self.hash => State::Finished,
            _ => State::Started,
        })
    }

    /// Says in its folder that it is finished.
    pub(crate) fn finish(&self) -> Result<()> {
        let finished = Finished {
            recipe: self.hash.clone(),
        };
        let bytes = serde_json::to_vec(&finished).unwrap_or_default();
        write_whole(&self.folder.join(FINISHED), &bytes)
    }
}

fn line(difference: &Difference) -> String {
    let or_absent = |value: &Option<String>| value.clone().unwrap_or_else(|| "(absent)".to_owned());
    format!(
        "  {}: {} now, {} there",
        difference.key,
        or_absent(&difference.ours),
        or_absent(&difference.theirs)
    )
}

/// Writes a file whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(io("write", path))
}

/// A folder that no other sweep works in, until it is dropped.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Not by closing the file alone: a child that is just being started has it too, for a moment.
        let _ = self.0.unlock();
    }
}

/// Keeps other sweeps out of `folder`. Creates the folder.
pub(crate) fn lock(folder: &Path) -> Result<Lock> {
    if folder.join(RECIPE).exists() {
        return Err(SweepError::Refused(format!(
            "{} is the folder of a run; a sweep needs one of its own (--output FOLDER)",
            folder.display()
        )));
    }
    fs::create_dir_all(folder.join("logs")).map_err(io("create", folder))?;
    let path = folder.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(SweepError::Locked {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io("lock", &path)(source)),
    }
}
