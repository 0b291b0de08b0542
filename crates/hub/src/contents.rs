//! The files of a folder to upload, a checkpoint's or an adapter's.
//!
//! They are what transformers, PEFT and vLLM read: weights, configuration, tokenizer and templates; not the training state. A
//! checkpoint's adapters are included if they have their own folder and a base on the Hub. Next to the merged weights,
//! transformers would load the repository as an adapter only.

use std::fs;
use std::path::{Path, PathBuf};

use smollm3_files::io;
use smollm3_recipe::{ADAPTER_FOLDER, ModelConfig, PEFT_CONFIG, PeftConfig};

use crate::adapter::{AdapterBase, adapter_base};
use crate::error::{HubError, Result};
use crate::upload::{Content, UploadFile};
use crate::wanted::{ADAPTER, CONFIG, INDEX, SINGLE, TOKENIZER, Wanted, shards};

/// The files of a checkpoint's folder to upload, or of an adapter's.
///
/// # Errors
/// The folder is not a checkpoint, has another architecture, or lacks weights; the base of an adapter is not on the Hub.
pub fn checkpoint_files(folder: &Path) -> Result<Vec<UploadFile>> {
    if PeftConfig::is_adapter(folder) {
        return adapter_files(folder);
    }
    let no_checkpoint = no_checkpoint(folder);
    if !folder.join(CONFIG).is_file() {
        return Err(no_checkpoint(match newest_step(folder) {
            Some(step) => format!("it has no {CONFIG}; {step} is one"),
            None => format!("it has no {CONFIG}"),
        }));
    }
    ModelConfig::from_hf_file(&folder.join(CONFIG))?;
    let index = folder.join(INDEX);
    let mut names: Vec<String> = match index.is_file() && !folder.join(SINGLE).is_file() {
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
    Ok(names.iter().map(|name| in_folder(folder, name)).collect())
}

/// Those of an adapter alone. A stage writes its adapters into a folder of the checkpoint, where their tokenizer is.
fn adapter_files(folder: &Path) -> Result<Vec<UploadFile>> {
    let no_checkpoint = no_checkpoint(folder);
    if let AdapterBase::Folder(base) = adapter_base(folder)? {
        return Err(no_checkpoint(format!(
            "its base model is the folder {}, which others do not have; upload that, and write its name on the Hub into {PEFT_CONFIG} \
             (base_model_name_or_path), or export the adapter and upload the merged model",
            base.display()
        )));
    }
    if !folder.join(ADAPTER).is_file() {
        return Err(no_checkpoint(format!("it has no {ADAPTER}")));
    }
    let mut files: Vec<UploadFile> = [PEFT_CONFIG, ADAPTER].map(|name| in_folder(folder, name)).into();
    let places = [Some(folder.to_owned()), checkpoint_above(folder)];
    let with_tokenizer = |place: &PathBuf| place.join(TOKENIZER).is_file();
    if let Some(place) = places.into_iter().flatten().find(with_tokenizer) {
        let names = Wanted::TOKENIZER.names().into_iter();
        let present = names.filter(|name| place.join(name).is_file());
        files.extend(present.map(|name| in_folder(&place, name)));
    }
    Ok(files)
}

/// The checkpoint in whose folder an adapter lies, as a stage leaves it.
pub fn checkpoint_above(adapter: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(adapter).ok()?;
    let above = folder.parent()?;
    let is_own = folder.ends_with(ADAPTER_FOLDER) && above.join(CONFIG).is_file();
    is_own.then(|| above.to_owned())
}

fn no_checkpoint(folder: &Path) -> impl Fn(String) -> HubError {
    let folder = folder.to_owned();
    move |problem| HubError::NoCheckpoint {
        folder: folder.clone(),
        problem,
    }
}

fn in_folder(folder: &Path, name: &str) -> UploadFile {
    UploadFile {
        name: name.to_owned(),
        content: Content::File(folder.join(name)),
    }
}

/// The newest checkpoint in the folder of a stage or of a run.
pub fn newest_step(folder: &Path) -> Option<String> {
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir())
    };
    let is_step = |path: &PathBuf| {
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
