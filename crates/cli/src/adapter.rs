//! Adapters (PEFT) on the command line: `export` merges them into their base, other commands refuse them.

use std::path::Path;

use anyhow::{Result, bail};
use smollm3_engine::write_merged;
use smollm3_files::atomic_folder::AtomicFolder;
use smollm3_hub::{AdapterBase, Wanted, adapter_base};
use smollm3_recipe::{AdapterFolders, PeftConfig};

use crate::hub::local_folder;

/// The adapter in `folder` merged into its base, in a draft folder next to `out`, which is removed on drop; `None` if it is
/// not an adapter.
///
/// # Errors
/// Its base cannot be found or downloaded, or the adapter does not fit it.
pub fn merged(folder: &Path, out: &Path) -> Result<Option<AtomicFolder>> {
    if !PeftConfig::is_adapter(folder) {
        return Ok(None);
    }
    let base = match adapter_base(folder)? {
        AdapterBase::Folder(folder) => folder,
        AdapterBase::Hub(id) => local_folder(Path::new(&id), Wanted::MODEL)?,
    };
    eprintln!("{} is an adapter of {}", folder.display(), base.display());
    let name = out.file_name().unwrap_or_default();
    // Never committed: a draft that a kill leaves is removed by the next export.
    let merged = AtomicFolder::create(&out.with_file_name(format!(".{}.merged", name.display())))?;
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
