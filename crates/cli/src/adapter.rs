//! Adapters (PEFT) on the command line: merged into the model that they are of by `export`, refused elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use smollm3_engine::write_merged;
use smollm3_hub::{AdapterBase, Wanted, adapter_base};
use smollm3_recipe::{AdapterFolders, PeftConfig};
use tempfile::TempDir;

use crate::hub::local_folder;

/// The adapter in `folder` and its base as one model, in a folder beside `out` that goes when this is dropped; `None` where
/// the folder holds no adapter.
///
/// # Errors
/// Its base cannot be found or fetched, or the adapter does not fit it.
pub fn merged(folder: &Path, out: &Path) -> Result<Option<TempDir>> {
    if !PeftConfig::is_adapter(folder) {
        return Ok(None);
    }
    let base = base(folder)?;
    eprintln!("{}: an adapter of {}", folder.display(), base.display());
    let beside = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    fs::create_dir_all(beside).with_context(|| format!("{}: cannot create", beside.display()))?;
    let merged = tempfile::Builder::new()
        .prefix(".merged-")
        .tempdir_in(beside)
        .with_context(|| format!("{}: cannot write", beside.display()))?;
    let folders = AdapterFolders {
        adapter: folder.to_owned(),
        base,
    };
    write_merged(&folders, merged.path(), true)?;
    Ok(Some(merged))
}

fn base(folder: &Path) -> Result<PathBuf> {
    match adapter_base(folder)? {
        AdapterBase::Folder(folder) => Ok(folder),
        AdapterBase::Hub(id) => local_folder(Path::new(&id), Wanted::MODEL),
    }
}

/// Refuses an adapter where a whole model is needed.
///
/// # Errors
/// It is one.
pub fn refuse_adapter(typed: &Path, folder: &Path) -> Result<()> {
    if PeftConfig::is_adapter(folder) {
        bail!(
            "{typed} is an adapter (PEFT), no whole model; `smollm3 export {typed} --out MERGED` merges it into the model that \
             it is of",
            typed = typed.display()
        );
    }
    Ok(())
}
