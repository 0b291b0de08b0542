//! Whose output folder it is: it keeps the canonical form of its recipe, and the process that works in it locks it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use smollm3_files::atomic_file::{partial_name, write_atomically};
use smollm3_files::locked_file::open_locked;
use smollm3_files::{io, list};
use smollm3_recipe::{Canonical, Difference, Recipe};
use smollm3_records::{RECIPE, WRITTEN_RECIPE, read_recipe};
use smollm3_sources::TOKENIZER;

use crate::{EngineError, Result, checkpoint};

const LOCK: &str = ".lock";

/// A folder that no other process works in. The system releases it when the process ends, however it does.
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
            // Naming the holder is best effort.
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

/// Checks that `output` is this recipe's and that no other process works in it: writes the recipe's canonical form there, or
/// compares it with the one that is there.
///
/// # Errors
/// The folder is no run's, it holds training of another recipe, or another process has it.
pub(crate) fn claim(recipe: &Recipe, output: &Path) -> Result<Lock> {
    if !is_free(output)? {
        return Err(EngineError::Refused(format!(
            "{} exists, is not empty and is no run's folder; write another run.output",
            output.display()
        )));
    }
    fs::create_dir_all(output).map_err(io("create", output))?;
    // Everything else is read and written under the lock: two recipes may be started at once.
    let lock = Lock::take(output)?;
    let (found, ours) = (read_recipe(output)?, recipe.canonical());
    if found.as_ref() != Some(&ours) {
        if let Some(found) = &found {
            take_over(recipe, output, found)?;
        }
        write_atomically(&output.join(RECIPE), ours.to_string().as_bytes())?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "# This run's recipe in one file, as smollm3 {version} has read it.\n\n{}",
        recipe.text
    );
    write_atomically(&output.join(WRITTEN_RECIPE), text.as_bytes())?;
    Ok(lock)
}

/// Whether the folder is a run's, or holds at most what a process leaves that has not made it its own yet.
fn is_free(output: &Path) -> Result<bool> {
    let recipe = output.join(RECIPE);
    if !output.exists() || recipe.exists() {
        return Ok(true);
    }
    let early = [output.join(LOCK), partial_name(&recipe)?];
    Ok(list(output)?.iter().all(|path| early.contains(path)))
}

/// Prepares the folder of the recipe `found` for another that has the same stages wherever something has been trained: one with
/// a stage more, or one that was mended before its first checkpoint. The files of other stages are removed. Token stores and
/// conversations stay: their own fingerprints decide whether they are used again.
fn take_over(recipe: &Recipe, output: &Path, found: &Canonical) -> Result<()> {
    let (mut trained, mut begun) = (BTreeSet::new(), Vec::new());
    for entry in fs::read_dir(output).map_err(io("list", output))? {
        let entry = entry.map_err(io("list", output))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !found.has_stage(&name) {
            continue;
        }
        match checkpoint::list(&entry.path())?.is_empty() {
            true => begun.push(name),
            false => {
                trained.insert(name);
            }
        }
    }
    if !trained.is_empty() {
        let differences = recipe.differences_in(found, &trained);
        if !differences.is_empty() {
            return Err(other_recipe(output, &differences));
        }
    }
    let needed = recipe.with_parents(trained.iter().map(String::as_str));
    begun.retain(|name| needed.iter().all(|stage| stage.name != *name));
    if trained.is_empty() {
        // It has no fingerprint and is quickly rebuilt.
        begun.push(TOKENIZER.to_owned());
    }
    for name in begun {
        let folder = output.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(io("remove", &folder))?;
        }
    }
    Ok(())
}

fn other_recipe(output: &Path, differences: &[Difference]) -> EngineError {
    let absent = "(absent)".to_owned();
    let line = |d: &Difference| {
        format!(
            "  {}: {} here, {} there",
            d.key,
            d.ours.as_ref().unwrap_or(&absent),
            d.theirs.as_ref().unwrap_or(&absent)
        )
    };
    EngineError::OtherRecipe {
        path: output.to_owned(),
        differences: differences.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}
