//! Whose output folder it is: a run's folder keeps the canonical form of its recipe, and is locked by the process that
//! works in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

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
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is helps; not to know does no harm.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    pid => format!(" (pid {pid})"),
                };
                return Err(EngineError::Locked {
                    path: folder.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
        }
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
        if output.is_dir() && fs::read_dir(output).map_err(io("list", output))?.next().is_some() {
            return Err(EngineError::Refused(format!(
                "{} exists, is not empty and is no run's folder; write another run.output",
                output.display()
            )));
        }
        fs::create_dir_all(output).map_err(io("create", output))?;
        let draft = output.join(format!(".{RECIPE}.part"));
        fs::write(&draft, recipe.canonical().to_string()).map_err(io("write", &draft))?;
        return fs::rename(&draft, &path).map_err(io("rename", &draft));
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
