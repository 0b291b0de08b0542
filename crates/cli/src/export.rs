//! `smollm3 export`: a checkpoint as others want it, in another dtype and for a longer context.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use smollm3_corpus::Tokenizer;
use smollm3_hub::{commits_of, write_pins};
use smollm3_inference::check_vocabulary;
use smollm3_model::hf::{Checkpoint, FileDtype, NamedTensor, TOKENIZER_FILES, Values, save_tensors};
use smollm3_model::{ModelConfig, Parameters, Yarn};
use smollm3_recipe::PeftConfig;

use crate::adapter::merged;
use crate::args::ExportArgs;

/// What a folder has besides weights, configuration and tokenizer, if it has it.
const COMPANIONS: [&str; 2] = ["generation_config.json", "README.md"];

/// Keys of `config.json` that are written under another name or with other values, or that name who wrote the file.
const OTHER_SPELLINGS: [&str; 4] = [
    "dtype",
    "rope_parameters",
    "transformers_version",
    "_name_or_path",
];

/// `smollm3 export`.
pub fn export(args: &ExportArgs) -> Result<ExitCode> {
    let typed = args.checkpoint.model_or_adapter()?;
    if PeftConfig::is_adapter(typed) && args.out.exists() {
        bail!("{} exists; write another --out, or remove it", args.out.display());
    }
    let merged = merged(typed, &args.out)?;
    let from = merged.as_ref().map_or(typed, |folder| folder.path());
    let checkpoint = Checkpoint::open(from)?;
    // A tokenizer of a kind that is not read here is copied as it is.
    if let Ok(tokenizer) = Tokenizer::load(from) {
        check_vocabulary(from, &tokenizer, &checkpoint.config)?;
    }
    let config = match args.context {
        None => checkpoint.config.clone(),
        Some(context) => stretched(&checkpoint.config, context.0, from)?,
    };
    if let Some(kind) = args.gguf {
        smollm3_gguf::export(from, &checkpoint, &config, &args.out, kind.into())?;
        let bytes = fs::metadata(&args.out).map_or(0, |file| file.len());
        println!("wrote {} ({:.1} MB)", args.out.display(), bytes as f64 / 1e6);
    } else {
        let dtype = args.dtype.into();
        let tensors = named_tensors(checkpoint, config.parameter_shapes(), dtype, |_, values| values);
        write_folder(from, &args.out, &config, &tensors, dtype, |_| Ok(()))?;
        println!("wrote {} ({})", args.out.display(), dtype.name());
    }
    if let Some(yarn) = &config.rope_scaling {
        println!(
            "context {}: YaRN, factor {} over {}",
            config.max_position_embeddings, yarn.factor, yarn.original_max_position_embeddings
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a checkpoint's folder, whole or not at all: weights and configuration, what `from` has besides them, the
/// commits of the Hub that it was made from, and what `change` makes of it.
pub fn write_folder(
    from: &Path,
    out: &Path,
    config: &ModelConfig,
    tensors: &[NamedTensor],
    dtype: FileDtype,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if out.exists() {
        bail!("{} exists; write another --out, or remove it", out.display());
    }
    let draft = draft(out)?;
    fs::create_dir_all(&draft).with_context(|| format!("{}: cannot create", draft.display()))?;
    let written = save_tensors(&draft, config, tensors, dtype)
        .map_err(anyhow::Error::from)
        .and_then(|()| keep_unknown_keys(&from.join("config.json"), &draft.join("config.json")))
        .and_then(|()| copy_companions(from, &draft))
        .and_then(|()| Ok(write_pins(&draft, &commits_of(from)?)?))
        .and_then(|()| change(&draft))
        .and_then(|()| fs::rename(&draft, out).with_context(|| format!("{}: cannot create", out.display())));
    if written.is_err() {
        // The error that matters is the first.
        let _ = fs::remove_dir_all(&draft);
    }
    written
}

/// Where the folder is written before it gets its name.
fn draft(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().context("--out needs a name for the folder")?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(".part");
    let draft = out.with_file_name(draft);
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("{}: cannot remove", draft.display()))?;
    }
    Ok(draft)
}

/// The architecture with YaRN from the length it was trained for to `context`.
fn stretched(config: &ModelConfig, context: u64, folder: &Path) -> Result<ModelConfig> {
    let trained = config
        .rope_scaling
        .as_ref()
        .map_or(config.max_position_embeddings, |yarn| {
            yarn.original_max_position_embeddings
        });
    if context <= trained as u64 {
        bail!(
            "--context {context} is within the {trained} tokens that the model was trained for; leave it out"
        );
    }
    let stretched = ModelConfig {
        rope_scaling: Some(Yarn::new(context as f64 / trained as f64, trained)),
        // A context that was longer is not kept.
        max_position_embeddings: trained,
        ..config.clone()
    };
    Ok(stretched.with_positions(context, folder)?)
}

/// The weights of `shapes`, read one at a time when their turn comes; `change` gets each one's name and values.
pub fn named_tensors(
    checkpoint: Checkpoint,
    shapes: Vec<(String, Vec<usize>)>,
    dtype: FileDtype,
    change: impl Fn(&str, Vec<f32>) -> Vec<f32> + Clone + Send + 'static,
) -> Vec<NamedTensor> {
    let stored = checkpoint.config.parameter_shapes();
    let files = Arc::new(checkpoint.tensors);
    shapes
        .into_iter()
        .zip(stored)
        .map(|((name, shape), (asked, dims))| {
            let (files, change) = (Arc::clone(&files), change.clone());
            NamedTensor {
                name,
                shape,
                dtype,
                // Opening the checkpoint has checked that it is there, with this shape.
                values: Values::Later(Box::new(move || match files.parameter(&asked, &dims) {
                    Ok(data) => change(&asked, data.iter::<f32>().collect()),
                    Err(error) => unreachable!("checked when the checkpoint was opened: {error}"),
                })),
            }
        })
        .collect()
}

/// Puts back what `from` says in `config.json` and this project does not: keys that it does not read, and end tokens
/// besides the first.
fn keep_unknown_keys(from: &Path, to: &Path) -> Result<()> {
    let read = |path: &Path| -> Result<Map<String, Value>> {
        let text = fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    };
    let write = |path: &Path, values: Map<String, Value>| {
        let text = format!("{:#}\n", Value::Object(values));
        fs::write(path, text).with_context(|| format!("{}: cannot write", path.display()))
    };
    let (original, mut written) = (read(from)?, read(to)?);
    for (key, value) in original {
        let first_end = |value: &Value| value.as_array().and_then(|ids| ids.first()).cloned();
        let keep = match key.as_str() {
            "eos_token_id" => {
                first_end(&value).is_some_and(|first| Some(&first) == written.get("eos_token_id"))
            }
            key => !OTHER_SPELLINGS.contains(&key) && !written.contains_key(key),
        };
        if keep {
            written.insert(key, value);
        }
    }
    // Generation takes its end tokens from there.
    let file = to.with_file_name("generation_config.json");
    let mut generation = read(&file)?;
    generation.insert(
        "eos_token_id".to_owned(),
        written.get("eos_token_id").cloned().unwrap_or_default(),
    );
    write(&file, generation)?;
    write(to, written)
}

fn copy_companions(from: &Path, to: &Path) -> Result<()> {
    for name in COMPANIONS.iter().chain(&TOKENIZER_FILES) {
        let file = from.join(name);
        if file.is_file() {
            fs::copy(&file, to.join(name)).with_context(|| format!("{}: cannot copy", file.display()))?;
        }
    }
    Ok(())
}
