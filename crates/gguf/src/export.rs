//! From a folder to a file.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use smollm3_chat::Template;
use smollm3_corpus::Tokenizer;
use smollm3_model::ModelConfig;
use smollm3_model::hf::{Checkpoint, CheckpointError, GenerationConfig, to_f32};

use crate::blocks::{Precision, TensorType};
use crate::file::{TensorInfo, Value, padding, write_header};
use crate::{GgufError, Result, architecture, tensors, vocabulary};

/// Writes the checkpoint of `folder` to `out`, whole or not at all. `config` is the checkpoint's, or the same with YaRN.
///
/// # Errors
/// The checkpoint cannot be read, llama.cpp cannot run it, `out` exists or cannot be written.
pub fn export(
    folder: &Path,
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    out: &Path,
    precision: Precision,
) -> Result<()> {
    if out.exists() {
        return Err(GgufError::Exists { path: out.to_owned() });
    }
    let unsupported = |problem: String| GgufError::Unsupported {
        folder: folder.to_owned(),
        problem,
    };
    let architecture = architecture::name(config).map_err(unsupported)?;
    let mut values = general(out, architecture, precision);
    values.extend(architecture::values(config, architecture).map_err(unsupported)?);
    values.extend(text_values(folder, config)?);

    let shapes = config.parameter_shapes();
    let mut infos = Vec::new();
    for (name, shape) in &shapes {
        infos.push(TensorInfo {
            name: tensors::name(name).ok_or_else(|| unsupported(format!("tensor \"{name}\"")))?,
            kind: TensorType::of(shape, precision),
            shape: shape.clone(),
        });
    }

    let written = |source| GgufError::Write {
        path: out.to_owned(),
        source,
    };
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(written)?;
    let mut file = BufWriter::new(tempfile::NamedTempFile::new_in(parent).map_err(written)?);
    write_header(&mut file, &values, &infos).map_err(written)?;
    for ((name, shape), info) in shapes.iter().zip(&infos) {
        let (stored, bytes) = checkpoint
            .tensors
            .check(name, shape)
            .map_err(CheckpointError::from)?;
        let mut numbers = to_f32(stored.dtype, bytes)
            .map_err(|dtype| unsupported(format!("tensor \"{name}\" is {dtype}")))?;
        if let Some(heads) = tensors::rotated_heads(name, config) {
            numbers = tensors::interleaved(&numbers, heads, shape[0]);
        }
        let bytes = info.kind.encode(&numbers).ok_or_else(|| GgufError::Range {
            folder: folder.to_owned(),
            name: name.clone(),
        })?;
        file.write_all(&bytes).map_err(written)?;
        file.write_all(&vec![0; padding(bytes.len() as u64) as usize])
            .map_err(written)?;
    }
    let file = file.into_inner().map_err(|error| written(error.into_error()))?;
    file.as_file().sync_all().map_err(written)?;
    readable(file.as_file()).map_err(written)?;
    file.persist_noclobber(out)
        .map_err(|error| written(error.error))?;
    Ok(())
}

/// A temporary file is its owner's alone; a model is for all who may read the folder.
fn readable(file: &fs::File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

fn general(out: &Path, architecture: &str, precision: Precision) -> Vec<(String, Value)> {
    let file_type = match precision {
        Precision::F16 => 1,
        Precision::Q8_0 => 7,
    };
    let name = out.file_stem().unwrap_or_default().to_string_lossy();
    let mut values = vec![
        ("general.architecture", Value::Text(architecture.to_owned())),
        ("general.type", Value::Text("model".to_owned())),
        ("general.name", Value::Text(name.into_owned())),
        ("general.file_type", Value::U32(file_type)),
    ];
    if precision == Precision::Q8_0 {
        values.push(("general.quantization_version", Value::U32(2)));
    }
    values
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The tokenizer, the tokens that end a text, the chat template.
fn text_values(folder: &Path, config: &ModelConfig) -> Result<Vec<(String, Value)>> {
    let tokenizer = Tokenizer::load(folder)?;
    let vocabulary = vocabulary::values(&tokenizer, config.vocab_size);
    let mut values = vocabulary.map_err(|problem| GgufError::Unsupported {
        folder: folder.to_owned(),
        problem,
    })?;
    let mut id = |key: &str, id: Option<u32>| {
        values.extend(id.map(|id| (format!("tokenizer.ggml.{key}"), Value::U32(id))));
    };
    let ends = GenerationConfig::of_checkpoint(folder)
        .map_err(CheckpointError::from)?
        .end_tokens;
    let end = ends.first().copied().or(config.eos_token_id);
    id("eos_token_id", end);
    // The end of a turn, where a text ends otherwise.
    id(
        "eot_token_id",
        tokenizer.info().im_end.filter(|turn| Some(*turn) != end),
    );
    id("padding_token_id", config.pad_token_id);
    if let Some(template) = Template::of_checkpoint(folder)? {
        let source = Value::Text(template.source().to_owned());
        values.push(("tokenizer.chat_template".to_owned(), source));
    }
    Ok(values)
}
