//! Converts a checkpoint's folder to a GGUF file.

use std::path::Path;

use smollm3_chat::Template;
use smollm3_corpus::Tokenizer;
use smollm3_files::atomic_file::AtomicFile;
use smollm3_files::atomic_folder::refuse_existing;
use smollm3_model::ModelConfig;
use smollm3_model::hf::{Checkpoint, CheckpointError, GenerationConfig, to_f32};

use crate::blocks::{Precision, TensorType};
use crate::file::{TensorInfo, Value, header, padding, prefixed};
use crate::{GgufError, Result, architecture, tensors, vocabulary};

/// Writes the checkpoint of `folder` to `out`, whole or not at all. `config` is the checkpoint's, perhaps with YaRN added.
///
/// # Errors
/// The checkpoint cannot be read, llama.cpp does not support it, `out` exists or cannot be written.
pub fn export(
    folder: &Path,
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    out: &Path,
    precision: Precision,
) -> Result<()> {
    refuse_existing(out)?;
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

    let mut file = AtomicFile::create(out)?;
    file.write(&header(&values, &infos))?;
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
        file.write(&bytes)?;
        file.write(&vec![0; padding(bytes.len() as u64) as usize])?;
    }
    refuse_existing(out)?;
    Ok(file.commit()?)
}

fn general(out: &Path, architecture: &str, precision: Precision) -> Vec<(String, Value)> {
    let file_type = match precision {
        Precision::F16 => 1,
        Precision::Q8_0 => 7,
    };
    let name = out.file_stem().unwrap_or_default().to_string_lossy();
    let values = [
        ("architecture", Value::Text(architecture.to_owned())),
        ("type", Value::Text("model".to_owned())),
        ("name", Value::Text(name.into_owned())),
        ("file_type", Value::U32(file_type)),
    ];
    let version = (precision == Precision::Q8_0).then_some(("quantization_version", Value::U32(2)));
    prefixed("general", values.into_iter().chain(version))
}

/// The tokenizer, the end tokens, the chat template.
fn text_values(folder: &Path, config: &ModelConfig) -> Result<Vec<(String, Value)>> {
    let tokenizer = Tokenizer::load(folder)?;
    let vocabulary = vocabulary::values(&tokenizer, config.vocab_size);
    let mut values = vocabulary.map_err(|problem| GgufError::Unsupported {
        folder: folder.to_owned(),
        problem,
    })?;
    let ends = GenerationConfig::of_checkpoint(folder)
        .map_err(CheckpointError::from)?
        .end_tokens;
    let end = ends.first().copied().or(config.eos_token_id);
    let ids = [
        ("eos_token_id", end),
        // The end of a turn, if texts end otherwise.
        (
            "eot_token_id",
            tokenizer.info().im_end.filter(|turn| Some(*turn) != end),
        ),
        ("padding_token_id", config.pad_token_id),
    ];
    let ids = ids
        .into_iter()
        .filter_map(|(key, id)| Some((key, Value::U32(id?))));
    values.extend(prefixed("tokenizer.ggml", ids));
    if let Some(template) = Template::of_checkpoint(folder)? {
        let source = Value::Text(template.source().to_owned());
        values.push(("tokenizer.chat_template".to_owned(), source));
    }
    Ok(values)
}
