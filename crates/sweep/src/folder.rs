//! The folders that a sweep writes to: which runs are finished, which are of another recipe, who works there.
//!
//! ```text
//! OUTPUT/
//!   base-1/ …        ordinary runs' folders, each with finished.json once it is
//!   prepared/KEY/    tokenizer and tokens that runs share
//!   logs/base-1.log  what the run has said
//!   table.md  sweep.json  report.html
//! ```

use std::fs::{self, File};
use std::path::Path;

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_atomically;
use smollm3_files::locked_file::open_locked;
use smollm3_files::{io, read_if_present};
use smollm3_recipe::{Difference, RecipeError};
use smollm3_records::RECIPE;

use crate::{PlannedRun, Result, SweepError};

const FINISHED: &str = "finished.json";

/// How far a run has got.
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

impl PlannedRun {
    /// How far it has got.
    ///
    /// # Errors
    /// Its folder is of another recipe, or cannot be read.
    pub(crate) fn state(&self) -> Result<State> {
        let path = self.folder.join(RECIPE);
        let Some(found) = read_if_present(&path)? else {
            return Ok(State::New);
        };
        let unreadable = |source: RecipeError| SweepError::Recipe(self.variation.clone(), source.into());
        let differences = self.recipe.differences(&found).map_err(unreadable)?;
        if !differences.is_empty() {
            let lines: Vec<String> = differences.iter().map(line).collect();
            return Err(SweepError::Changed(self.folder.clone(), lines.join("\n")));
        }
        let finished = fs::read(self.folder.join(FINISHED)).ok();
        let finished = finished.and_then(|bytes| serde_json::from_slice::<Finished>(&bytes).ok());
        Ok(match finished {
            Some(finished) if finished.recipe == self.hash => State::Finished,
            _ => State::Started,
        })
    }

    /// Records in its folder that it is finished.
    pub(crate) fn finish(&self) -> Result<()> {
        let finished = Finished {
            recipe: self.hash.clone(),
        };
        let bytes = serde_json::to_vec(&finished).unwrap_or_default();
        Ok(write_atomically(&self.folder.join(FINISHED), &bytes)?)
    }
}

fn line(difference: &Difference) -> String {
    let [ours, theirs] =
        [&difference.ours, &difference.theirs].map(|value| value.as_deref().unwrap_or("(absent)"));
    format!("  {}: {ours} now, {theirs} there", difference.key)
}

/// A lock that keeps other sweeps out of a folder until it is dropped.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that is just being started holds it too, for a moment.
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
    match open_locked(&path).map_err(io("lock", &path))? {
        Some(file) => Ok(Lock(file)),
        None => Err(SweepError::Locked(folder.to_owned())),
    }
}
