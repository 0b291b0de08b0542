//! The identity of a checkpoint's answers: a hash of file contents.

use std::path::Path;

use blake3::Hasher;
use smollm3_files::{hash_file, plain_files};

use crate::{InferenceError, Result};

/// Files of a checkpoint that determine its answers, in addition to its weights.
const COMPANIONS: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// blake3 over the names and contents of the files that determine the answers of a checkpoint. Reads all weights.
///
/// # Errors
/// There is no model in the folder, or a file cannot be read.
pub fn checkpoint_hash(folder: &Path) -> Result<String> {
    let mut names = plain_files(folder)?;
    // Not the optimizer's state or adapters, which training checkpoints also hold.
    names.retain(|name| {
        let is_weights = name.starts_with("model") && name.ends_with(".safetensors");
        is_weights || COMPANIONS.contains(&name.as_str())
    });
    if !names.iter().any(|name| name == "config.json") {
        return Err(InferenceError::NoModel {
            folder: folder.to_owned(),
        });
    }
    let mut all = Hasher::new();
    for name in names {
        let path = folder.join(&name);
        let hash = hash_file(&path)?.to_hex();
        // Of the contents of each, so that no text can move from one file to the next unseen.
        all.update(format!("{name} {hash}\n").as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}
