//! A checkpoint on disk for tests of whatever opens one: the fixture model, and a tokenizer trained to its 512 entries.

use std::fs;
use std::path::{Path, PathBuf};

use smollm3_corpus::Tokenizer;
use smollm3_corpus::text::Arithmetic;

/// Writes it to `folder/checkpoint`.
pub fn checkpoint(folder: &Path) -> PathBuf {
    let to = folder.join("checkpoint");
    fs::create_dir(&to).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/model/a");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let texts = Arithmetic::new(1, 200);
    let tokenizer = Tokenizer::train((0..200).map(|index| texts.text(index)), 512).unwrap();
    tokenizer.save(to.join("tokenizer.json")).unwrap();
    to
}
