//! Adapters (PEFT) on the command line: `export` merges them into their base, other commands refuse them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use smollm3_engine::write_merged;
use smollm3_hub::{AdapterBase, Wanted, adapter_base};
use smollm3_recipe::{AdapterFolders, PeftConfig};
use tempfile::TempDir;

use crate::hub::local_folder;

/// The adapter in `folder` merged into its base, in a temporary folder next to `out`; `None` if it is not an adapter.
///
/// # Errors
/// Its base cannot be found or downloaded, or the adapter does not fit it.
pub fn merged(folder: &Path, out: &Path) -> Result<Option<TempDir>> {
    if !PeftConfig::is_adapter(folder) {
        return Ok(None);
    }
    let base = match adapter_base(folder)? {
        AdapterBase::Folder(folder) => folder,
        AdapterBase::Hub(id) => local_folder(Path::new(&id), Wanted::MODEL)?,
    };
    eprintln!("{} is an adapter of {}", folder.display(), base.display());
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

/// Refuses an adapter where a whole model is needed.
///
/// # Errors
/// It is one.
pub fn refuse_adapter(typed: &Path, folder: &Path) -> Result<()> {
    if PeftConfig::is_adapter(folder) {
        bail!(
            "{typed} is an adapter (PEFT), not a whole model; `smollm3 export {typed} --out MERGED` merges it into its base",
            typed = typed.display()
        );
    }
    Ok(())
}
