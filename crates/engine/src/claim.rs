//! Whose output folder it is: a run's folder keeps the canonical form of its recipe, and is locked by the process that
//! works in it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use smollm3_corpus::atomic_file::{is_vacant, write_atomically};
use smollm3_corpus::locked_file::open_locked;
use smollm3_recipe::{Difference, Recipe};

use crate::error::io;
use crate::{EngineError, Result};

const RECIPE: &str = "recipe.json";
const LOCK: &str = ".lock";

/// A folder that no other process works in. The system lets go of it when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// # Errors
    /// Another process has the folder, or it cannot be written to.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let Some(mut file) = open_locked(&path).map_err(io("lock", &path))? else {
            // Who it is helps; not to know does no harm.
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = match holder.trim() {
                "" => String::new(),
                pid => format!(" (pid {pid})"),
            };
            return Err(EngineError::Locked {
                path: folder.to_owned(),
                holder,
            });
        };
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// Whether the recipe's output folder holds a run of this very recipe.
///
/// # Errors
/// What is there cannot be read.
pub fn belongs(recipe: &Recipe) -> Result<bool> {
    let path = recipe.run.output.join(RECIPE);
    if !path.exists() {
        return Ok(false);
    }
    let found = fs::read_to_string(&path).map_err(io("read", &path))?;
    Ok(recipe.differences(&found)?.is_empty())
}

/// Makes sure that `output` is this recipe's: writes its canonical form there, or compares with the one found.
pub(crate) fn claim(recipe: &Recipe, output: &Path) -> Result<()> {
    let path = output.join(RECIPE);
    if !path.exists() {
        if !is_vacant(output)? {
            return Err(EngineError::Refused(format!(
                "{} exists, is not empty and is no run's folder; write another run.output",
                output.display()
            )));
        }
        return Ok(write_atomically(
            &path,
            recipe.canonical().to_string().as_bytes(),
        )?);
    }
    let found = fs::read_to_string(&path).map_err(io("read", &path))?;
    let differences = recipe.differences(&found)?;
    if differences.is_empty() {
        return Ok(());
    }
    let absent = "(absent)".to_owned();
    let line = |d: &Difference| {
        format!(
            "  {}: {} here, {} there",
            d.key,
            d.ours.as_ref().unwrap_or(&absent),
            d.theirs.as_ref().unwrap_or(&absent)
        )
    };
    let differences = differences.iter().map(line).collect::<Vec<_>>().join("\n");
    Err(EngineError::OtherRecipe {
        path: output.to_owned(),
        differences,
    })
}
