//! A checkpoint's folder written again, in another format or with more tokens.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use smollm3_corpus::Tokenizer;
use smollm3_files::atomic_folder::AtomicFolder;
use smollm3_files::io;
use smollm3_hub::{commits_of, write_pins};
use smollm3_model::hf::{Checkpoint, FileDtype, NamedTensor, TOKENIZER_FILES, Values, save_tensors};
use smollm3_model::{ModelConfig, Parameters};

use crate::error::Result;

/// Files of a folder besides weights, configuration and tokenizer.
const COMPANIONS: [&str; 2] = ["generation_config.json", "README.md"];

/// Keys of `config.json` that are written under another name or with other values, or that name the writer.
const OTHER_SPELLINGS: [&str; 4] = [
    "dtype",
    "rope_parameters",
    "transformers_version",
    "_name_or_path",
];

/// Tensors with a row per token.
const EMBEDDINGS: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

/// Writes the checkpoint of `from` with numbers of type `dtype`; `config` may differ in its context.
///
/// # Errors
/// `out` exists, or a file cannot be read or written; nothing is left then.
pub fn rewrite(
    from: &Path,
    checkpoint: Checkpoint,
    config: &ModelConfig,
    dtype: FileDtype,
    out: &Path,
) -> Result<()> {
    let tensors = tensors(checkpoint, config, dtype, |_, _| {});
    write_folder(from, out, config, &tensors, dtype, |_| Ok(()))
}

/// Writes the checkpoint of `from` with a tokenizer that has more tokens; their embeddings are the mean of the others.
/// Returns the number of rows of the embedding before and after.
///
/// # Errors
/// As [`rewrite`].
pub fn rewrite_with_tokens(from: &Path, tokenizer: &Tokenizer, out: &Path) -> Result<(usize, usize)> {
    let checkpoint = Checkpoint::open(from)?;
    let before = checkpoint.config.vocab_size;
    let config = ModelConfig {
        vocab_size: before.max(tokenizer.info().vocab_size as usize),
        ..checkpoint.config.clone()
    };
    let (rows, width) = (config.vocab_size, config.hidden_size);
    let dtype = FileDtype::F32;
    let tensors = tensors(checkpoint, &config, dtype, move |name, values| {
        if EMBEDDINGS.contains(&name) {
            append_mean_rows(values, rows, width);
        }
    });
    write_folder(from, out, &config, &tensors, dtype, |folder| {
        Ok(tokenizer.save(folder.join("tokenizer.json"))?)
    })?;
    Ok((before, rows))
}

/// Appends rows until there are `rows`, each the mean of the existing ones: close to every token, and of usual norm.
fn append_mean_rows(values: &mut Vec<f32>, rows: usize, width: usize) {
    let known = values.len() / width.max(1);
    let mut mean = vec![0.0f64; width];
    for row in values.chunks_exact(width.max(1)) {
        for (value, sum) in row.iter().zip(&mut mean) {
            *sum += f64::from(*value);
        }
    }
    let mean = mean.iter().map(|sum| (sum / known.max(1) as f64) as f32);
    let mean: Vec<f32> = mean.collect();
    for _ in known..rows {
        values.extend(&mean);
    }
}

/// The weights in the shapes of `config`, each read when it is written and passed through `change` with its name.
fn tensors(
    checkpoint: Checkpoint,
    config: &ModelConfig,
    dtype: FileDtype,
    change: impl Fn(&str, &mut Vec<f32>) + Clone + Send + 'static,
) -> Vec<NamedTensor> {
    let stored = checkpoint.config.parameter_shapes();
    let files = Arc::new(checkpoint.tensors);
    let shapes = config.parameter_shapes().into_iter().zip(stored);
    let tensor = |((name, shape), (asked, dims)): ((String, Vec<usize>), (String, Vec<usize>))| {
        let (files, change) = (Arc::clone(&files), change.clone());
        // Opening the checkpoint has checked that it is there, with this shape.
        let read = move || match files.parameter(&asked, &dims) {
            Ok(data) => {
                let mut values = data.iter::<f32>().collect();
                change(&asked, &mut values);
                values
            }
            Err(error) => unreachable!("checked when the checkpoint was opened: {error}"),
        };
        NamedTensor {
            name,
            shape,
            dtype,
            values: Values::Later(Box::new(read)),
        }
    };
    shapes.map(tensor).collect()
}

/// Writes a checkpoint's folder, whole or not at all: weights and configuration, other files of `from`, the commits on the
/// Hub that it was made from, and what `change` adds.
fn write_folder(
    from: &Path,
    out: &Path,
    config: &ModelConfig,
    tensors: &[NamedTensor],
    dtype: FileDtype,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let draft = AtomicFolder::create(out)?;
    let folder = draft.path();
    save_tensors(folder, config, tensors, dtype)?;
    keep_unknown_keys(&from.join("config.json"), &folder.join("config.json"))?;
    for name in COMPANIONS.iter().chain(&TOKENIZER_FILES) {
        let file = from.join(name);
        if file.is_file() {
            fs::copy(&file, folder.join(name)).map_err(io("copy", &file))?;
        }
    }
    write_pins(folder, &commits_of(from)?)?;
    change(folder)?;
    Ok(draft.commit()?)
}

/// Restores keys of `config.json` that this project does not read, and end tokens besides the first.
fn keep_unknown_keys(from: &Path, to: &Path) -> Result<()> {
    let read = |path: &Path| -> Result<Map<String, Value>> {
        let text = fs::read_to_string(path).and_then(|text| Ok(serde_json::from_str(&text)?));
        Ok(text.map_err(io("read", path))?)
    };
    let write = |path: &Path, values: Map<String, Value>| -> Result<()> {
        let text = format!("{:#}\n", Value::Object(values));
        Ok(fs::write(path, text).map_err(io("write", path))?)
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
    // Generation reads its end tokens there.
    let file = to.with_file_name("generation_config.json");
    let mut generation = read(&file)?;
    let ends = written.get("eos_token_id").cloned().unwrap_or_default();
    generation.insert("eos_token_id".to_owned(), ends);
    write(&file, generation)?;
    write(to, written)
}

#[cfg(test)]
mod tests {
    use super::append_mean_rows;

    #[test]
    fn new_rows_are_the_mean_of_the_others() {
        let mut values = vec![1.0, 10.0, 3.0, 20.0];
        append_mean_rows(&mut values, 4, 2);
        assert_eq!(values, [1.0, 10.0, 3.0, 20.0, 2.0, 15.0, 2.0, 15.0]);
        append_mean_rows(&mut values, 3, 2);
        assert_eq!(values.len(), 8);
    }
}
