//! Tokens that several runs share. `smollm3 data prepare` trains the tokenizer and tokenises the text once for all runs that
//! would get the same; the files are then linked into the runs' folders, where the engine finds them as its own.
//!
//! Links are hard, so that a run's folder stays whole whatever happens to the others; where the disk has none, files are
//! copied. The engine never writes into a finished file; it renames a new one into place.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use smollm3_files::atomic_file::{sync_file, sync_folder, write_atomically};
use smollm3_files::atomic_folder::AtomicFolder;
use smollm3_files::{io, list};
use smollm3_records::RECIPE;

use crate::{PlannedRun, Result, Sweep};

/// What the engine calls the folders.
const SHARED: [&str; 2] = ["tokenizer", "data"];

impl PlannedRun {
    /// Hash of all that its tokens depend on, including the seed, which shuffles documents and chooses the text to train a
    /// tokenizer on.
    pub(crate) fn data_key(&self) -> String {
        let recipe = &self.recipe;
        let inputs = json!({
            "folder": recipe.directory,
            "seed": recipe.run.seed,
            "tokenizer": recipe.tokenizer,
            "sources": recipe.sources,
            "held_out": recipe.data.held_out,
            "bad_rows": recipe.data.bad_rows,
        });
        let hash = blake3::hash(inputs.to_string().as_bytes()).to_hex();
        hash.chars().take(16).collect()
    }

    /// Whether it makes rows of tokens from sources at all.
    pub(crate) fn has_sources(&self) -> bool {
        !self.recipe.sources.is_empty()
    }
}

impl Sweep {
    /// The folder of the tokens of this key.
    pub(crate) fn prepared(&self, key: &str) -> PathBuf {
        self.output.join("prepared").join(key)
    }
}

const READY: &str = "ready.json";

/// Whether everything in this folder is prepared.
pub(crate) fn is_ready(prepared: &Path) -> bool {
    prepared.join(READY).is_file()
}

/// Records that everything is.
pub(crate) fn ready(prepared: &Path) -> Result<()> {
    Ok(write_atomically(&prepared.join(READY), b"{}")?)
}

/// Makes the folder in which `run` prepares, even if another run with the same tokens has begun to.
pub(crate) fn expect(run: &PlannedRun, prepared: &Path) -> Result<()> {
    let recipe = run.recipe.canonical().to_string();
    Ok(write_atomically(&prepared.join(RECIPE), recipe.as_bytes())?)
}

/// Makes the folder of a new run, with its recipe and links to what is prepared. It appears whole: with half the links it
/// would look like the folder of a damaged run.
pub(crate) fn begin(run: &PlannedRun, prepared: &Path) -> Result<()> {
    // Only an empty folder can be removed so, which is in the way of the new one.
    let _ = fs::remove_dir(&run.folder);
    let draft = AtomicFolder::create(&run.folder)?;
    for part in SHARED {
        let from = prepared.join(part);
        if from.is_dir() {
            link_all(&from, &draft.path().join(part))?;
        }
    }
    draft.write(RECIPE, run.recipe.canonical().to_string().as_bytes())?;
    Ok(draft.commit()?)
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(io("create", to))?;
    for path in list(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            link_all(&path, &target)?;
        } else if fs::hard_link(&path, &target).is_err() {
            fs::copy(&path, &target).map_err(io("copy", &path))?;
            sync_file(&target)?;
        }
    }
    Ok(sync_folder(to)?)
}
