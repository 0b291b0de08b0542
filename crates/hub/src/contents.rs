//! Which files of a folder make a model that others can load.
//!
//! Weights, configuration, tokenizer and templates: what transformers and vLLM read. The state of training stays. Adapters go
//! where they have a folder of their own and a base on the Hub; beside the weights, which have them in them, transformers would
//! take the repository for adapters alone.

use std::fs;
use std::path::Path;

use smollm3_recipe::{ADAPTER_FOLDER, ModelConfig, PEFT_CONFIG};

use crate::adapter::{AdapterBase, adapter_base};
use crate::error::{HubError, Result, io};
use crate::upload::{Content, UploadFile};
use crate::wanted::{ADAPTER, CONFIG, INDEX, SINGLE, Wanted, shards};

/// The files of a checkpoint's folder that are uploaded.
///
/// # Errors
/// The folder is no checkpoint, is of another architecture, or lacks weights.
pub fn checkpoint_files(folder: &Path) -> Result<Vec<UploadFile>> {
    let no_checkpoint = |problem: String| HubError::NoCheckpoint {
        folder: folder.to_owned(),
        problem,
    };
    if !folder.join(CONFIG).is_file() {
        return Err(no_checkpoint(match newest_step(folder) {
            Some(step) => format!("it has no {CONFIG}; {step} is one"),
            None => format!("it has no {CONFIG}"),
        }));
    }
    ModelConfig::from_hf_file(&folder.join(CONFIG))?;
    let index = folder.join(INDEX);
    let mut names: Vec<String> = match index.is_file() {
        false => vec![SINGLE.to_owned()],
        true => {
            let text = fs::read_to_string(&index).map_err(io("read", &index))?;
            let shards = shards(&text).ok_or_else(|| no_checkpoint(format!("its {INDEX} names no files")))?;
            shards.into_iter().chain([INDEX.to_owned()]).collect()
        }
    };
    if let Some(name) = names.iter().find(|name| !folder.join(name).is_file()) {
        return Err(no_checkpoint(format!("it has no {name}")));
    }
    let others = Wanted::MODEL.names().into_iter();
    names.extend(
        others
            .filter(|name| folder.join(name).is_file())
            .map(str::to_owned),
    );
    if let Ok(AdapterBase::Hub(_)) = adapter_base(&folder.join(ADAPTER_FOLDER)) {
        names.extend([PEFT_CONFIG, ADAPTER].map(|name| format!("{ADAPTER_FOLDER}/{name}")));
    }
    let file = |name: String| UploadFile {
        content: Content::File(folder.join(&name)),
        name,
    };
    Ok(names.into_iter().map(file).collect())
}

/// The newest checkpoint in a stage's folder, or in a stage of a run's.
fn newest_step(folder: &Path) -> Option<String> {
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir())
    };
    let is_step = |path: &std::path::PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with("step-") && path.join(CONFIG).is_file()
    };
    let steps = below(folder).chain(below(folder).flat_map(|stage| below(&stage)));
    steps
        .filter(is_step)
        .max_by_key(|path| {
            fs::metadata(path.join(CONFIG))
                .and_then(|file| file.modified())
                .ok()
        })
        .map(|path| path.display().to_string())
}
