//! The base model of a PEFT adapter, named in its `adapter_config.json`.

use std::path::{Path, PathBuf};

use smollm3_recipe::{HubId, PEFT_CONFIG, PeftConfig, PeftError};

use crate::cache::Origin;
use crate::error::Result;

/// Where the base of an adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterBase {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A model on the Hub, as typed.
    Hub(String),
}

/// The base of the adapter in `folder`. A path is resolved from that folder, as this project writes it, then from the
/// current one, as PEFT does. An adapter from the Hub names a model there.
///
/// # Errors
/// `adapter_config.json` cannot be used or names no base that can be found.
pub fn adapter_base(folder: &Path) -> Result<AdapterBase> {
    let config = PeftConfig::read(folder)?;
    let refuse = |message: String| {
        let path = folder.join(PEFT_CONFIG);
        Err(PeftError { path, message }.into())
    };
    let Some(base) = config.base else {
        return refuse("base_model_name_or_path is empty; write the adapter's base model".to_owned());
    };
    let is_here = |path: &PathBuf| path.join("config.json").is_file();
    if Origin::of(folder).is_none()
        && let Some(found) = [folder.join(&base), PathBuf::from(&base)]
            .into_iter()
            .find(is_here)
    {
        return Ok(AdapterBase::Folder(found));
    }
    if HubId::parse(&base).is_none() {
        return refuse(format!(
            "base_model_name_or_path is \"{base}\", where there is no model; write the folder or the Hub id of the adapter's \
             base model"
        ));
    }
    Ok(AdapterBase::Hub(match config.revision {
        Some(revision) if !base.contains('@') && !HubId::is_explicit(&base) => format!("{base}@{revision}"),
        _ => base,
    }))
}
