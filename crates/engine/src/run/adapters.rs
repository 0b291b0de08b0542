//! Adapters (PEFT) that a recipe names as checkpoints: merged into their base models, so that every stage finds a
//! whole checkpoint. `frozen.rs` has those that a stage trains on.
//!
//! The merged model is `adapters/NAME/` in the run's folder, in f32: one more checkpoint on disk, and no second way of reading
//! weights. It is made once; `merged.json` names its origin.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use smollm3_files::atomic_file::write_json;
use smollm3_files::atomic_folder::AtomicFolder;
use smollm3_files::{io, plain_files};
use smollm3_hub::Depth;
use smollm3_model::hf::{AdapterFiles, Checkpoint, FileDtype, NamedTensor, Values, save_tensors};
use smollm3_model::{ModelConfig, Parameters};
use smollm3_recipe::{AdapterFolders, PeftConfig, Recipe, TOKENIZER_FILES};
use smollm3_records::{Event, Listener};

use crate::Result;

/// The origin of a merged folder.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Merged {
    /// The adapter and its base.
    of: String,
    /// Whether it has the weights, or only the files for preparing data.
    weights: bool,
}

const MERGED: &str = "merged.json";

/// Writes the adapters that `recipe` names as whole models into its output folder, as far as `depth` needs them.
///
/// # Errors
/// An adapter does not fit its base, or a file cannot be read or written.
pub(crate) fn merge_adapters(recipe: &Recipe, depth: Depth, listener: &mut dyn Listener) -> Result<()> {
    let weights = depth == Depth::Weights;
    for (text, folders) in &recipe.adapters {
        let out = merged_folder(recipe, text);
        let wanted = Merged {
            of: identity(folders)?,
            weights,
        };
        let found = fs::read(out.join(MERGED)).ok();
        let found: Option<Merged> = found.and_then(|text| serde_json::from_slice(&text).ok());
        if found.is_some_and(|found| found.of == wanted.of && (found.weights || !weights)) {
            continue;
        }
        if weights {
            let AdapterFolders { base, .. } = folders;
            let note = format!("{text}: an adapter of {}; the two are merged", base.display());
            listener.on(&Event::Note(note))?;
        }
        if out.exists() {
            fs::remove_dir_all(&out).map_err(io("remove", &out))?;
        }
        let draft = AtomicFolder::create(&out)?;
        write_merged(folders, draft.path(), weights)?;
        write_json(&draft.path().join(MERGED), &wanted)?;
        draft.commit()?;
    }
    Ok(())
}

/// Has `recipe` read the merged models in its output folder instead of the adapters.
pub(crate) fn use_merged(recipe: &mut Recipe) {
    let texts: Vec<String> = recipe.adapters.keys().cloned().collect();
    for text in texts {
        let folder = merged_folder(recipe, &text);
        if folder.join(MERGED).is_file() {
            recipe.hub_folders.insert(text, folder);
        }
    }
}

fn merged_folder(recipe: &Recipe, text: &str) -> PathBuf {
    let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let plain = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let hash = blake3::hash(text.as_bytes()).to_hex();
    let name = format!("{}-{}", plain.collect::<String>(), &hash[..8]);
    recipe.run.output.join("adapters").join(name)
}

/// The identity of an adapter and its base: contents of the one, names, lengths and times of the files of the other.
fn identity(folders: &AdapterFolders) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in sorted_files(&folders.adapter)? {
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update_mmap_rayon(&path).map_err(io("read", &path))?;
    }
    for path in sorted_files(&folders.base)? {
        let file = fs::metadata(&path).map_err(io("read", &path))?;
        let changed = file
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(format!("{} {:?}", file.len(), changed).as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn sorted_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = plain_files(folder)?;
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Writes an adapter and its base as one model into the folder `out`: the base's architecture, the adapter's
/// tokenizer and template where it brings them, and, if `weights`, the sum of both in f32.
///
/// # Errors
/// The adapter does not fit, or a file cannot be read or written.
pub fn write_merged(folders: &AdapterFolders, out: &Path, weights: bool) -> Result<()> {
    let AdapterFolders { adapter, base } = folders;
    // Errors of the configurations come before anything large is read.
    let config = ModelConfig::from_hf_file(&base.join("config.json"))
        .map_err(smollm3_model::hf::CheckpointError::from)?;
    PeftConfig::read(adapter).map_err(smollm3_model::hf::CheckpointError::from)?;
    if weights {
        let files = Arc::new(AdapterFiles::open(adapter, &config)?);
        let tensors = merged_tensors(files, Checkpoint::open(base)?)?;
        save_tensors(out, &config, &tensors, FileDtype::F32)?;
    }
    let copy = |from: &Path, name: &str| -> Result<()> {
        let file = from.join(name);
        if file.is_file() {
            fs::copy(&file, out.join(name)).map_err(io("copy", &file))?;
        }
        Ok(())
    };
    // The original files, which have keys that this program does not read.
    for name in ["config.json", "generation_config.json"] {
        copy(base, name)?;
    }
    for name in TOKENIZER_FILES {
        copy(base, name)?;
        copy(adapter, name)?;
    }
    Ok(())
}

/// The weights of the merged model, each computed when it is written.
fn merged_tensors(adapter: Arc<AdapterFiles>, base: Checkpoint) -> Result<Vec<NamedTensor>> {
    let files = Arc::new(base.tensors);
    base.config
        .parameter_shapes()
        .into_iter()
        .map(|(name, shape)| {
            // Checks that it is of floats; shapes were checked when the checkpoint was opened.
            files.elements(&name, &shape, 0..1)?;
            let (adapter, files) = (Arc::clone(&adapter), Arc::clone(&files));
            let (asked, dims) = (name.clone(), shape.clone());
            let read = move || match adapter.merged(&files).parameter(&asked, &dims) {
                Ok(data) => data.iter::<f32>().collect(),
                Err(error) => unreachable!("checked when it was opened: {error}"),
            };
            Ok(NamedTensor {
                name,
                shape,
                dtype: FileDtype::F32,
                values: Values::Later(Box::new(read)),
            })
        })
        .collect()
}
