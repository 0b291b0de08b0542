//! A checkpoint with a tokenizer: the fixture model, and a vocabulary trained to its 512 entries.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::DType;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::text::Arithmetic;
use smollm3_inference::TextModel;
use smollm3_kernels::device;

/// Writes it to `folder/checkpoint`.
pub fn checkpoint(folder: &Path) -> PathBuf {
    let to = folder.join("checkpoint");
    fs::create_dir(&to).unwrap();
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/model/a");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let texts = Arithmetic::new(1, 200);
    let tokenizer = Tokenizer::train((0..200).map(|index| texts.text(index)), 512).unwrap();
    tokenizer.save(to.join("tokenizer.json")).unwrap();
    to
}

/// Opens it on a backend.
pub fn open(folder: &Path, backend: &str) -> TextModel {
    TextModel::open(folder, DType::F32, &device(backend, None).unwrap()).unwrap()
}
