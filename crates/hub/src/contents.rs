//! The files of a checkpoint's folder to upload.
//!
//! They are what transformers and vLLM read: weights, configuration, tokenizer and templates; not the training state. Adapters
//! are included if they have their own folder and a base on the Hub. Next to the merged weights, transformers would load the
//! repository as an adapter only.

use std::fs;
use std::path::Path;

use smollm3_files::io;
use smollm3_recipe::{ADAPTER_FOLDER, ModelConfig, PEFT_CONFIG};

use crate::adapter::{AdapterBase, adapter_base};
use crate::error::{HubError, Result};
use crate::upload::{Content, UploadFile};
use crate::wanted::{ADAPTER, CONFIG, INDEX, SINGLE, Wanted, shards};

/// The files of a checkpoint's folder to upload.
///
/// # Errors
/// The folder is not a checkpoint, has another architecture, or lacks weights.
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
            let shards = shards(&text).ok_or_else(|| no_checkpoint(format!("its {INDEX} is malformed")))?;
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

/// The newest checkpoint in the folder of a stage or of a run.
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
